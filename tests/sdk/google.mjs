// The npm package `@google/genai`, as its manual says, with only the base URL changed.

import { GoogleGenAI } from "@google/genai";
import { listen } from "./listen.mjs";

async function* models(question) {
  const { base, key, headers, model, prompt, streaming, tool } = question;
  // An empty field is none on the wire for the gateway, and a key to this SDK.
  const client = new GoogleGenAI({ apiKey: key ?? " ", httpOptions: { baseUrl: base, headers } });
  const asked = { model, contents: prompt };
  if (tool) {
    const declared = { name: tool.name, parametersJsonSchema: tool.schema };
    asked.config = { tools: [{ functionDeclarations: [declared] }] };
  }
  if (!streaming) {
    yield (await client.models.generateContent(asked)).text;
    return;
  }
  for await (const chunk of await client.models.generateContentStream(asked)) {
    if (!tool) yield chunk.text;
    for (const call of chunk.functionCalls ?? []) yield { name: call.name, arguments: call.args };
  }
}

await listen({ models });
