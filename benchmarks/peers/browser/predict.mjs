// Predict gray images with a JavaScript library, for benchmarks/peers/browser/library.py.
//
//   node predict.mjs PACKAGES face-api ssd|tiny
//   node predict.mjs PACKAGES human blazeface|none
//   node predict.mjs PACKAGES onnxruntime-web FOLDER GRAPH
//
// PACKAGES contains node_modules, and FOLDER is an exports folder. A detector follows the name of a library; without
// one, Human takes each image for a face. Standard input has requests: five little-endian uint32 numbers (count,
// height, width, images per call, and 1 to find the faces in the images, or 0 if each image is a face), then
// count * height * width bytes. The answer to each is a line of JSON: `faces`, a list of faces for each image, and
// `ms`, the time that they took. A face has `probabilities` by the library's own class names, and, where it was found,
// `box` and `score`.

import { readFileSync, readSync, writeSync } from 'node:fs';
import { createRequire } from 'node:module';
import path from 'node:path';
import { pathToFileURL } from 'node:url';

const HEADER_BYTES = 20;
const FACE_API_MODELS = ['faceExpressionNet', 'ssdMobilenetv1', 'tinyFaceDetector', 'faceLandmark68Net'];
const FACE_API_THRESHOLD = 0.1; // of its own demo for Node with WebAssembly; the default of the library is 0.5

const [packages, library, ...rest] = process.argv.slice(2);
const modules = path.join(path.resolve(packages), 'node_modules');
const require = createRequire(path.join(modules, 'package.json'));
console.log = console.error; // standard output has only answers

/** Return a value and the milliseconds that it took. */
async function timed(compute) {
  const start = performance.now();
  const value = await compute();
  return { value, ms: performance.now() - start };
}

/** Start TensorFlow.js on WebAssembly, which runs in one thread in Node. */
async function startTensorFlow() {
  const wasm = require('@tensorflow/tfjs-backend-wasm');
  const tf = require('@tensorflow/tfjs');
  const wasmPath = path.join(modules, '@tensorflow/tfjs-backend-wasm/dist/');
  wasm.setWasmPaths(wasmPath);
  await tf.setBackend('wasm');
  await tf.ready();
  return { tf, wasmPath };
}

/** Return a gray image as the tensor of red, green and blue that the libraries expect. */
function tensorOf(tf, gray, height, width) {
  const rgb = new Int32Array(gray.length * 3);
  for (let place = 0, to = 0; place < gray.length; place += 1) {
    for (let channel = 0; channel < 3; channel += 1, to += 1) rgb[to] = gray[place];
  }
  return tf.tensor3d(rgb, [height, width, 3], 'int32');
}

async function openFaceApi(detector) {
  const { tf } = await startTensorFlow();
  const faceapi = require(path.join(modules, '@vladmandic/face-api/dist/face-api.node-wasm.js'));
  const models = path.join(modules, '@vladmandic/face-api/model');
  for (const name of FACE_API_MODELS) await faceapi.nets[name].loadFromDisk(models);
  const options = detector === 'tiny'
    ? new faceapi.TinyFaceDetectorOptions({ scoreThreshold: FACE_API_THRESHOLD })
    : new faceapi.SsdMobilenetv1Options({ minConfidence: FACE_API_THRESHOLD });
  return {
    predict: (images, height, width) => timed(async () => {
      const tensors = images.map((image) => tensorOf(tf, image, height, width));
      const input = tensors.length === 1 ? tensors[0] : tensors;
      const found = await faceapi.nets.faceExpressionNet.predictExpressions(input);
      tf.dispose(tensors);
      return [found].flat().map((probabilities) => ({ probabilities }));
    }),
    find: (image, height, width) => timed(async () => {
      const tensor = tensorOf(tf, image, height, width);
      const found = await faceapi.detectAllFaces(tensor, options).withFaceLandmarks().withFaceExpressions();
      tf.dispose(tensor);
      return found.map(({ detection, expressions }) => {
        const { x, y, width: wide, height: high } = detection.box;
        return { box: [x, y, wide, high], score: detection.score, probabilities: expressions };
      });
    }),
  };
}

/** Let `fetch` read files, which Node's own refuses: Human loads its models by it. */
function fetchFiles() {
  const original = globalThis.fetch;
  globalThis.fetch = async (address, options) => {
    if (!String(address).startsWith('file:')) return original(address, options);
    const type = String(address).endsWith('.json') ? 'application/json' : 'application/octet-stream';
    return new Response(readFileSync(new URL(address)), { headers: { 'content-type': type } });
  };
}

async function startHuman(wasmPath, face) {
  const { Human } = require(path.join(modules, '@vladmandic/human/dist/human.node-wasm.js'));
  const off = { enabled: false };
  const human = new Human({
    backend: 'wasm',
    wasmPath,
    modelBasePath: String(pathToFileURL(path.join(modules, '@vladmandic/human/models/'))),
    cacheSensitivity: 0, // no image is taken for the one before
    async: false,
    filter: off,
    gesture: off,
    body: off,
    hand: off,
    object: off,
    segmentation: off,
    face: { ...face, description: off, emotion: { enabled: true, minConfidence: 0 } },
  });
  await human.load();
  return human;
}

/** Let Human's detector answer that the whole image is one face, without running its network. */
function takeWholeImages(human) {
  const detector = human.models.models.blazeface;
  const side = detector.inputs[0].shape[2];
  const [boxes, columns, firstAnchor] = [896, 17, side / 32];
  const output = new Float32Array(boxes * columns);
  for (let box = 0; box < boxes; box += 1) output[box * columns] = box === 0 ? 20 : -20; // logit of a face
  output.set([side / 2 - firstAnchor, side / 2 - firstAnchor, side, side], 1); // center from the anchor, and size
  detector.execute = () => human.tf.tensor3d(output, [1, boxes, columns]);
}

/** Return the faces that Human found. */
function facesOf({ face, error }) {
  if (error) throw new Error(error);
  return face.map(({ box, score, emotion }) => ({
    box,
    score,
    probabilities: Object.fromEntries(emotion.map((one) => [one.emotion, one.score])),
  }));
}

async function openHuman(detector) {
  fetchFiles();
  const { tf, wasmPath } = await startTensorFlow();
  const off = { enabled: false };
  const wholeImages = detector === 'none';
  const instance = await startHuman(wasmPath, wholeImages ? { detector: { scale: 1 }, mesh: off, iris: off } : {});
  if (wholeImages) takeWholeImages(instance);
  const detect = async (image, height, width) => {
    const tensor = tensorOf(tf, image, height, width);
    const result = await instance.detect(tensor);
    tf.dispose(tensor);
    return facesOf(result);
  };
  let [start, ms] = [0, 0];
  instance.analyze = (step) => { // the library calls it before and after its prediction of a face
    if (step === 'Start Emotion:') start = performance.now();
    if (step === 'End Emotion:') ms += performance.now() - start;
  };
  return {
    predict: async (images, height, width) => {
      ms = 0;
      const value = [];
      for (const image of images) value.push(...await detect(image, height, width));
      if (value.length !== images.length) throw new Error(`${images.length} faces gave ${value.length} predictions`);
      return { value, ms };
    },
    find: (image, height, width) => timed(() => detect(image, height, width)),
  };
}

async function openOnnxRuntimeWeb(folder, graph) {
  const ort = require('onnxruntime-web');
  ort.env.wasm.numThreads = 1;
  const { labels } = JSON.parse(readFileSync(path.join(folder, 'card.json'), 'utf8'));
  const session = await ort.InferenceSession.create(path.join(folder, graph), { executionProviders: ['wasm'] });
  return {
    predict: (images, height, width) => timed(async () => {
      const faces = new ort.Tensor('uint8', Buffer.concat(images), [images.length, height, width]);
      const { probabilities } = await session.run({ faces }, ['probabilities']);
      const ofFace = (face) => labels.map((label, place) => [label, probabilities.data[face * labels.length + place]]);
      return images.map((_, face) => ({ probabilities: Object.fromEntries(ofFace(face)) }));
    }),
  };
}

const LIBRARIES = { 'face-api': openFaceApi, human: openHuman, 'onnxruntime-web': openOnnxRuntimeWeb };

/** Read so many bytes of standard input, or null at its end. */
function read(bytes) {
  const buffer = Buffer.alloc(bytes);
  for (let place = 0; place < bytes;) {
    const got = readSync(0, buffer, place, bytes - place);
    if (got === 0) return null;
    place += got;
  }
  return buffer;
}

/** Write a line of JSON to standard output. */
function answer(value) {
  const line = Buffer.from(`${JSON.stringify(value)}\n`);
  for (let place = 0; place < line.length;) place += writeSync(1, line, place);
}

const { predict, find } = await LIBRARIES[library](...rest);
answer({ ready: library });
for (let header = read(HEADER_BYTES); header !== null; header = read(HEADER_BYTES)) {
  const [count, height, width, perCall, finding] = [0, 4, 8, 12, 16].map((place) => header.readUInt32LE(place));
  const pixels = read(count * height * width);
  const images = Array.from({ length: count }, (_, n) => pixels.subarray(n * height * width, (n + 1) * height * width));
  const faces = [];
  let elapsed = 0;
  for (let n = 0; n < count; n += perCall) {
    const { value, ms } = finding
      ? await find(images[n], height, width)
      : await predict(images.slice(n, n + perCall), height, width);
    faces.push(...(finding ? [value] : value.map((face) => [face])));
    elapsed += ms;
  }
  answer({ faces, ms: elapsed });
}
