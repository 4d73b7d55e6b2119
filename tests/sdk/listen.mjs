// Reads questions from standard input, a line of JSON each, and writes the answers likewise.
//
// A way to use an SDK is an async generator of the pieces of text, and of the calls of tools, which
// are objects. What it throws is told by the names of its class and of those above it, by its status
// and by its text.

import { createInterface } from "node:readline";

export async function listen(ways) {
  for await (const line of createInterface({ input: process.stdin })) {
    const question = JSON.parse(line);
    process.stdout.write(JSON.stringify(await told(ways[question.way], question)) + "\n");
  }
}

async function told(way, question) {
  const got = { pieces: [], arrivedS: [], calls: [], fault: null };
  try {
    for await (const piece of way(question)) {
      if (!piece) continue;
      if (typeof piece === "object") {
        got.calls.push(piece);
        continue;
      }
      got.pieces.push(piece);
      got.arrivedS.push(performance.now() / 1000);
    }
  } catch (error) {
    got.fault = fault(error);
  }
  return got;
}

function fault(error) {
  const kinds = [];
  for (let kind = Object(error).constructor; kind?.name; kind = Object.getPrototypeOf(kind)) {
    kinds.push(kind.name);
  }
  const status = error?.status ?? error?.statusCode ?? null;
  const body = error?.responseBody ?? JSON.stringify(error?.error ?? "");
  return { kinds, status, text: `${error?.message ?? JSON.stringify(error)} ${body}` };
}

// Puts calls together again whose arguments come in pieces.
export class Heard {
  #calls = new Map();

  add(index, name, part) {
    const call = this.#calls.get(index) ?? { name: "", text: "" };
    this.#calls.set(index, { name: call.name + (name ?? ""), text: call.text + (part ?? "") });
  }

  *calls() {
    for (const { name, text } of this.#calls.values()) yield { name, arguments: JSON.parse(text) };
  }
}
