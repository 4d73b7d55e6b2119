// The npm package `openai`, as its manual says, with only the base URL changed.

import OpenAI from "openai";
import { listen } from "./listen.mjs";

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
  const { model, prompt, streaming } = question;
  const messages = [{ role: "user", content: prompt }];
  const create = (more) => client(question).chat.completions.create({ model, messages, ...more });
  if (!streaming) {
    yield (await create()).choices[0].message.content;
    return;
  }
  for await (const chunk of await create({ stream: true })) yield chunk.choices[0].delta.content;
}

async function* responses(question) {
  const { model, prompt, streaming } = question;
  const create = (more) => client(question).responses.create({ model, input: prompt, ...more });
  if (!streaming) {
    yield (await create()).output_text;
    return;
  }
  for await (const event of await create({ stream: true })) {
    if (event.type === "response.output_text.delta") yield event.delta;
  }
}

await listen({ chat, responses });
