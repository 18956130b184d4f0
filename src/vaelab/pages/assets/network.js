"use strict";
// Encoder and decoder in the page: the layers that explorer/network.py describes, one image at a time, channel first.

const LAYERS = {
  linear(layer, input, shape, weights) {
    const output = new Float32Array(layer.outputs);
    const { inputs } = layer;
    const own = weights.subarray(layer.weight);
    let place = 0;
    for (let row = 0; row < layer.outputs; row++) {
      let sum = weights[layer.bias + row];
      for (let column = 0; column < inputs; column++) sum += own[place++] * input[column];
      output[row] = sum;
    }
    return [output, [layer.outputs]];
  },

  convolution(layer, input, [channels, height, width], weights) {
    const { kernel, stride, padding, outputs } = layer;
    const high = Math.floor((height + 2 * padding - kernel) / stride) + 1;
    const wide = Math.floor((width + 2 * padding - kernel) / stride) + 1;
    const output = new Float32Array(outputs * high * wide);
    const own = weights.subarray(layer.weight);
    for (let out = 0; out < outputs; out++) {
      const bias = weights[layer.bias + out];
      for (let y = 0; y < high; y++) for (let x = 0; x < wide; x++) {
        let sum = bias;
        for (let channel = 0; channel < channels; channel++) {
          const filter = (out * channels + channel) * kernel * kernel;
          const plane = channel * height * width;
          for (let ky = 0; ky < kernel; ky++) {
            const row = y * stride + ky - padding;
            if (row < 0 || row >= height) continue;
            for (let kx = 0; kx < kernel; kx++) {
              const column = x * stride + kx - padding;
              if (column < 0 || column >= width) continue;
              sum += own[filter + ky * kernel + kx] * input[plane + row * width + column];
            }
          }
        }
        output[(out * high + y) * wide + x] = sum;
      }
    }
    return [output, [outputs, high, wide]];
  },

  convolution_transposed(layer, input, [channels, height, width], weights) {
    const { kernel, stride, padding, outputs, more } = layer;
    const high = (height - 1) * stride - 2 * padding + kernel + more;
    const wide = (width - 1) * stride - 2 * padding + kernel + more;
    const output = new Float32Array(outputs * high * wide);
    const own = weights.subarray(layer.weight);
    for (let out = 0; out < outputs; out++) output.fill(weights[layer.bias + out], out * high * wide, (out + 1) * high * wide);
    for (let channel = 0; channel < channels; channel++) {
      for (let y = 0; y < height; y++) for (let x = 0; x < width; x++) {
        const value = input[(channel * height + y) * width + x];
        if (value === 0) continue;
        for (let out = 0; out < outputs; out++) {
          const filter = (channel * outputs + out) * kernel * kernel;
          for (let ky = 0; ky < kernel; ky++) {
            const row = y * stride + ky - padding;
            if (row < 0 || row >= high) continue;
            for (let kx = 0; kx < kernel; kx++) {
              const column = x * stride + kx - padding;
              if (column < 0 || column >= wide) continue;
              output[(out * high + row) * wide + column] += own[filter + ky * kernel + kx] * value;
            }
          }
        }
      }
    }
    return [output, [outputs, high, wide]];
  },

  affine(layer, input, shape, weights) {
    const area = shape[1] * shape[2];
    return [input.map((value, place) => {
      const channel = Math.floor(place / area);
      return value * weights[layer.factor + channel] + weights[layer.summand + channel];
    }), shape];
  },

  group_norm(layer, input, shape, weights) {
    const size = input.length / layer.groups;  // the channels of a group are one after the other
    const output = new Float32Array(input.length);
    for (let start = 0; start < input.length; start += size) {
      let [sum, squares] = [0, 0];
      for (let place = start; place < start + size; place++) sum += input[place];
      const mean = sum / size;
      for (let place = start; place < start + size; place++) squares += (input[place] - mean) ** 2;
      const factor = 1 / Math.sqrt(squares / size + layer.epsilon);
      for (let place = start; place < start + size; place++) output[place] = (input[place] - mean) * factor;
    }
    return LAYERS.affine(layer, output, shape, weights);
  },

  residual(layer, input, shape, weights) {
    const [change] = runLayers(layer.layers, input, shape, weights);
    return [input.map((value, place) => value + change[place]), shape];
  },

  relu: (layer, input, shape) => [input.map((value) => (value > 0 ? value : 0)), shape],
  silu: (layer, input, shape) => [input.map((value) => value / (1 + Math.exp(-value))), shape],
  tanh: (layer, input, shape) => [input.map(Math.tanh), shape],
  sigmoid: (layer, input, shape) => [input.map((value) => 1 / (1 + Math.exp(-value))), shape],
  glu(layer, input, [channels, ...area]) {
    const half = input.length / 2;  // the first half of the channels, gated by the second
    return [input.slice(0, half).map((value, i) => value / (1 + Math.exp(-input[half + i]))), [channels / 2, ...area]];
  },
  flatten: (layer, input, shape) => [input, [shape.reduce((a, b) => a * b)]],
  unflatten: (layer, input) => [input, layer.shape],
};

function runLayers(layers, input, shape, weights) {
  let found = [input, shape];
  for (const layer of layers) found = LAYERS[layer.op](layer, ...found, weights);
  return found;
}

const MEANS = {  // of a pixel, from the decoder's output: the likelihoods of objectives/
  bernoulli: (logit) => 1 / (1 + Math.exp(-logit)),
  gaussian: (logit) => 1 / (1 + Math.exp(-logit)),
  continuous_bernoulli: (logit) => (Math.abs(logit) < 0.1
    ? 0.5 + logit / 12 - logit ** 3 / 720 + logit ** 5 / 30240
    : -1 / Math.expm1(-logit) - 1 / logit),
};

const LOG_2PI = Math.log(2 * Math.PI);
const softplus = (logit) => Math.max(logit, 0) + Math.log1p(Math.exp(-Math.abs(logit)));

const LOG_PROBS = {  // log p(x|z) of a pixel in nats, from the decoder's output; sigma is the Gaussian's
  bernoulli: (logit, x) => logit * x - softplus(logit),
  gaussian: (logit, x, sigma) => -0.5 * (((x - MEANS.gaussian(logit)) / sigma) ** 2 + 2 * Math.log(sigma) + LOG_2PI),
  continuous_bernoulli: (logit, x) => {  // with log C = log(a / tanh(a / 2)) of the logit a
    const a = Math.abs(logit);
    const normaliser = a < 0.1 ? Math.log(2) + a ** 2 / 12 - 7 * a ** 4 / 1440 : Math.log(a) - Math.log(Math.tanh(a / 2));
    return normaliser + LOG_PROBS.bernoulli(logit, x);
  },
};

class Network {
  static given = 0;  // the number of the class that class-conditional models are given

  constructor(model, weights) {
    this.spec = model.network;
    this.pixelSigma = model.pixelSigma;
    this.mean = MEANS[model.network.likelihood];
    this.weights = weights;  // of all layers: each has the offset of its own
  }

  run(layers, input, shape) {
    return runLayers(layers, input, shape, this.weights)[0];
  }

  // What a network is given: values, and in a class-conditional model the one-hot vector of the class, each entry `times` times.
  withClass(values, times) {
    const { classes } = this.spec;
    const found = new Float32Array(values.length + times * classes.length);
    found.set(values);
    const start = values.length + times * classes.indexOf(Network.given);
    if (classes.includes(Network.given)) found.fill(1, start, start + times);
    return found;
  }

  // q(z|x) of an image of grey values from 0 to 1.
  encode(image) {
    const both = this.run(this.spec.encoder, this.withClass(image, this.spec.pixelsPerClass), this.spec.input);
    const latents = this.spec.latents;
    const [low, high] = this.spec.logVarianceRange;
    return { mean: both.slice(0, latents),
             logVariance: both.slice(latents).map((value) => Math.min(high, Math.max(low, value))) };
  }

  // The parameters of p(x|z): a number per pixel.
  logits(z) {
    const values = this.withClass(z, 1);
    return this.run(this.spec.decoder, values, [values.length]);
  }

  // The expected image of a latent: grey values from 0 to 1.
  decode(z) { return this.logits(z).map(this.mean); }

  // −log p(x|z) of an image, in nats.
  reconstruction(image, z) {
    const logProb = LOG_PROBS[this.spec.likelihood];
    return -this.logits(z).reduce((sum, logit, place) => sum + logProb(logit, image[place], this.pixelSigma), 0);
  }
}
