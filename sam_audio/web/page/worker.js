// Does the work, beside the page: loads the networks once, separates one recording at a time.

import { Nano } from "./nano.js";
import { separate } from "./separation.js";

let loading = null;
let newest = 0; // number of the separation that is wanted

onmessage = async ({ data }) => {
  newest = data.job;
  if (!data.recording) return; // the one before is to be broken off, and that is all
  try {
    const stems = await work(data);
    if (stems) postMessage({ job: data.job, stems });
  } catch (error) {
    postMessage({ job: data.job, problem: error.message });
  }
};

async function work({ job, recording, prompts, threads }) {
  const tell = (what, part) => postMessage({ job, what, part });
  loading ??= Nano.load(threads, (part) =>
    part < 1 ? tell("Fetching the networks", part) : tell("Starting the networks"));
  const nano = await loading.catch((error) => {
    loading = null; // is tried again
    throw error;
  });
  const unread = prompts.filter((prompt) => !nano.words.reads(prompt));
  if (unread.length) throw new Error(`${unread.join(", ")} holds no word that nano knows: ask in English`);
  return separate(nano, recording, prompts, async (done) => {
    tell("Separating", done ? done / recording.frames : undefined); // the first part is long in coming
    await new Promise((resolve) => setTimeout(resolve)); // lets a message in
    return job === newest;
  });
}
