// Creates an app, uploads pictures, trains and predicts with the published Node client; prints what it saw as JSON.
// Arguments: host:port, token, file of pictures [{id, concept, png (base64)}].
const fs = require("fs");
const { ClarifaiStub, grpc } = require("clarifai-nodejs-grpc");

const [address, token, file] = process.argv.slice(2);
const stub = ClarifaiStub.grpc(address);
const metadata = new grpc.Metadata();
metadata.set("authorization", `Key ${token}`);
const APP = { user_id: "lehr", app_id: "from-node" };
const OK = 10000, TRAINED = 21100, FAILED = 21106, STORED = 30000;

function ask(rpc, request) {
  return new Promise((resolve, reject) =>
    stub[rpc]({ user_app_id: APP, ...request }, metadata, (error, answer) => (error ? reject(error) : resolve(answer)))
  );
}

async function must(rpc, request) {
  const answer = await ask(rpc, request);
  if (answer.status.code !== OK) throw new Error(`${rpc}: ${JSON.stringify(answer.status)}`);
  return answer;
}

async function until(claim) {
  for (;;) {
    const answer = await claim();
    if (answer) return answer;
    await new Promise((resolve) => setTimeout(resolve, 200));
  }
}

async function main() {
  const pictures = JSON.parse(fs.readFileSync(file));
  const kept = pictures.splice(-10);
  await must("PostApps", { user_app_id: { user_id: "lehr" }, apps: [{ id: APP.app_id }] });
  const inputs = pictures.map(({ id, concept, png }) => ({
    id,
    data: { image: { base64: Buffer.from(png, "base64") }, concepts: [{ id: concept, value: 1 }] },
  }));
  for (let at = 0; at < inputs.length; at += 128) await must("PostInputs", { inputs: inputs.slice(at, at + 128) });
  await until(async () => Number((await must("GetInputCount", {})).counts.processed) >= inputs.length);

  const made = await must("PostModels", { models: [{ id: "digits", model_type_id: "visual-classifier" }] });
  const params = { fields: {} };
  const numbers = { num_epochs: 12, batch_size: 64, width_multiplier: 0.25, seed: 0 };
  for (const [name, value] of Object.entries(numbers)) params.fields[name] = { numberValue: value, kind: "numberValue" };
  params.fields.template = { stringValue: "classification_cifar10_v1", kind: "stringValue" };
  const queued = await must("PostModelVersions", {
    model_id: made.model.id,
    model_versions: [{ train_info: { params } }],
  });
  const version_id = queued.model.model_version.id;
  const version = await until(async () => {
    const { model_version } = await must("GetModelVersion", { model_id: "digits", version_id });
    if (model_version.status.code === FAILED) throw new Error(JSON.stringify(model_version.status));
    return model_version.status.code === TRAINED && model_version;
  });

  const outputs = await until(async () => {
    const wanted = kept.map(({ png }) => ({ data: { image: { base64: Buffer.from(png, "base64") } } }));
    const answer = await ask("PostModelOutputs", { model_id: "digits", version_id, inputs: wanted });
    if (answer.status.code === 21355) return null; // still loading: the published clients ask again, too
    if (answer.status.code !== OK) throw new Error(JSON.stringify(answer.status));
    return answer.outputs;
  });
  const right = outputs.filter((output, n) => output.data.concepts[0].id === kept[n].concept).length;
  const missing = await ask("GetModel", { model_id: "none" });
  console.log(JSON.stringify({ right, of: kept.length, status: version.status.code, missing: missing.status.code }));
}

main().catch((error) => {
  console.error(error);
  process.exit(1);
});
