/** Sessions of ONNX Runtime Web, which run one call after another. */

/**
 * The parts of ONNX Runtime Web that are used, so that any of its builds fits.
 * @typedef {object} Runtime
 * @property {{create(model: Uint8Array, options?: object): Promise<RuntimeSession>}} InferenceSession
 * @property {new (type: any, data: any, dims: readonly number[]) => RuntimeTensor} Tensor
 */

/**
 * @typedef {object} RuntimeSession
 * @property {readonly string[]} inputNames
 * @property {readonly string[]} outputNames
 * @property {(feeds: any) => Promise<any>} run
 * @property {() => Promise<void>} release
 */

/**
 * @typedef {object} RuntimeTensor
 * @property {any} data
 * @property {readonly number[]} dims
 */

/** A graph in ONNX Runtime. */
export class Session {
  /**
   * @param {Runtime} ort
   * @param {RuntimeSession} session
   */
  constructor(ort, session) {
    this.ort = ort;
    this.outputNames = session.outputNames;
    this.session = session;
    /** @type {Promise<unknown>} */
    this.last = Promise.resolve();
  }

  /**
   * Load a graph.
   * @param {Runtime} ort
   * @param {string | URL} url
   * @returns {Promise<Session>}
   */
  static async open(ort, url) {
    const response = await fetch(url);
    if (!response.ok) throw new Error(`${url}: cannot be read: HTTP status ${response.status}`);
    const content = new Uint8Array(await response.arrayBuffer());
    const options = { executionProviders: ["wasm"], logSeverityLevel: 3 }; // errors: sizes of outputs differ by design
    return new Session(ort, await ort.InferenceSession.create(content, options));
  }

  /**
   * Run the graph once earlier calls have ended, so that callers can reuse the memory of their inputs.
   * @template Result
   * @param {() => Record<string, [type: string, data: ArrayLike<unknown>, dims: number[]]>} inputs called when it is the
   *   turn of this call
   * @param {(outputs: Record<string, any>) => Result} read takes the data of the outputs before the next call
   * @returns {Promise<Result>}
   */
  run(inputs, read) {
    const result = this.last.then(async () => {
      const feeds = Object.entries(inputs()).map(([name, [type, data, dims]]) => [
        name,
        new this.ort.Tensor(type, data, dims),
      ]);
      const outputs = await this.session.run(Object.fromEntries(feeds));
      return read(Object.fromEntries(Object.entries(outputs).map(([name, tensor]) => [name, tensor.data])));
    });
    this.last = result.catch(() => undefined);
    return result;
  }

  /** Free the memory of the graph once all calls have ended. */
  async release() {
    await this.last;
    await this.session.release();
  }
}
