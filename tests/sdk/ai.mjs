// The npm package `ai` with its providers, as its manual says, with only the base URL changed.

import { createAnthropic } from "@ai-sdk/anthropic";
import { createGoogleGenerativeAI } from "@ai-sdk/google";
import { createOpenAI } from "@ai-sdk/openai";
import { generateText, jsonSchema, streamText, tool as declared } from "ai";
import { listen } from "./listen.mjs";

globalThis.AI_SDK_LOG_WARNINGS = false;

const settings = ({ base, key, headers }) => ({ baseURL: base, apiKey: key ?? "", headers });

async function* told(model, { prompt, streaming, tool }) {
  const asked = { model, prompt, maxRetries: 0 };
  if (tool) asked.tools = { [tool.name]: declared({ inputSchema: jsonSchema(tool.schema) }) };
  if (!streaming) {
    yield (await generateText(asked)).text;
    return;
  }
  // In a text stream this SDK leaves errors to `onError`; in the full stream they are parts.
  const { fullStream } = streamText({ ...asked, onError: () => {} });
  for await (const part of fullStream) {
    if (part.type === "error") throw part.error;
    if (part.type === "text-delta") yield part.text;
    if (part.type === "tool-call") yield { name: part.toolName, arguments: part.input };
  }
}

const made = (create) => (question) => create(settings(question))(question.model);

await listen({
  chat: (question) => told(createOpenAI(settings(question)).chat(question.model), question),
  responses: (question) => told(made(createOpenAI)(question), question),
  anthropic: (question) => told(made(createAnthropic)(question), question),
  google: (question) => told(made(createGoogleGenerativeAI)(question), question),
});
