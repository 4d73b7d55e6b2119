// The npm package `@anthropic-ai/sdk`, as its manual says, with only the base URL changed.

import Anthropic from "@anthropic-ai/sdk";
import { listen } from "./listen.mjs";

function client({ base, key, headers }) {
  const keyless = key === null ? { Authorization: null, "X-Api-Key": null } : {};
  return new Anthropic({
    baseURL: base,
    apiKey: key ?? "none",
    defaultHeaders: { ...headers, ...keyless },
    maxRetries: 0,
  });
}

async function* messages(question) {
  const { model, prompt, streaming, tool } = question;
  const asked = { model, max_tokens: 100, messages: [{ role: "user", content: prompt }] };
  if (tool) asked.tools = [{ name: tool.name, input_schema: tool.schema }];
  const api = client(question).messages;
  if (!streaming) {
    for (const block of (await api.create(asked)).content) yield block.text;
    return;
  }
  const stream = api.stream(asked);
  for await (const event of stream) {
    if (event.type === "content_block_delta") yield event.delta.text;
  }
  if (!tool) return;
  for (const block of (await stream.finalMessage()).content) {
    if (block.type === "tool_use") yield { name: block.name, arguments: block.input };
  }
}

await listen({ messages });
