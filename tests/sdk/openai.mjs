// The npm package `openai`, as its manual says, with only the base URL changed.

import OpenAI from "openai";
import { Heard, listen } from "./listen.mjs";

function client({ base, key, headers }) {
  const keyless = key === null ? { Authorization: null } : {};
  return new OpenAI({
    baseURL: base,
    apiKey: key ?? "none",
    defaultHeaders: { ...headers, ...keyless },
    maxRetries: 0,
  });
}

async function* chat(question) {
  const { model, prompt, streaming, tool } = question;
  const asked = { model, messages: [{ role: "user", content: prompt }] };
  if (tool) {
    asked.tools = [{ type: "function", function: { name: tool.name, parameters: tool.schema } }];
  }
  const { completions } = client(question).chat;
  if (!streaming) {
    yield (await completions.create(asked)).choices[0].message.content;
    return;
  }
  const heard = new Heard();
  for await (const chunk of await completions.create({ ...asked, stream: true })) {
    const { delta } = chunk.choices[0];
    yield delta.content;
    for (const { index, function: part } of delta.tool_calls ?? []) {
      heard.add(index, part.name, part.arguments);
    }
  }
  yield* heard.calls();
}

async function* responses(question) {
  const { model, prompt, streaming, tool } = question;
  const asked = { model, input: prompt };
  if (tool) asked.tools = [{ type: "function", name: tool.name, parameters: tool.schema }];
  const api = client(question).responses;
  if (!streaming) {
    yield (await api.create(asked)).output_text;
    return;
  }
  const heard = new Heard();
  for await (const event of await api.create({ ...asked, stream: true })) {
    if (event.type === "response.output_text.delta") yield event.delta;
    if (event.type === "response.output_item.added" && event.item.type === "function_call") {
      heard.add(event.output_index, event.item.name);
    }
    if (event.type === "response.function_call_arguments.delta") {
      heard.add(event.output_index, "", event.delta);
    }
    if (event.type === "error") throw new Error(event.message);
  }
  yield* heard.calls();
}

await listen({ chat, responses });
