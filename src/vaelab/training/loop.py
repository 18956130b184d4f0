"""The training loop; checks, figures and files are callbacks.

Shapes: N images, B batch, C channels, H height, W width.
"""

from collections.abc import Iterator, Sequence
from dataclasses import replace

import torch
from torch import Tensor

from vaelab.config import Config
from vaelab.data.splits import Data, Split
from vaelab.objectives import kl_weight
from vaelab.runs.random_streams import stream
from vaelab.training.callbacks import Callback, notify
from vaelab.training.optimization import learning_rate, set_learning_rate, update_averages
from vaelab.training.state import Record, TrainingState, epoch_record, is_complete
from vaelab.training.train_step import TrainStep, train_step_for


def fit(
    state: TrainingState,
    data: Data,
    config: Config,
    callbacks: Sequence[Callback] = (),
    train_step: TrainStep | None = None,
) -> list[Record]:
    """Train until `config.epochs` epochs are complete, or early stopping ends the training.

    Returns the records of all epochs. A callback stops the training by raising an exception; another `fit`
    then continues with the next step. Raises TrainingDiverged if the losses of an epoch, or all its
    gradients, are not finite.
    """
    train_step = train_step or train_step_for(state, config)
    weight_of = kl_weight(config)
    images, labels = torch.empty_like(data.train.images), torch.empty_like(data.train.labels)
    shuffled = replace(data.train, images=images, labels=labels)
    notify(callbacks, "on_start", state)
    while not is_complete(state, config):
        if state.step == 0:
            state.begin_epoch(config.seed)
        with state.timed():
            for x_BCHW, labels_B in batches(data.train, shuffled, state, config):
                epoch = state.epoch + state.step / state.steps_per_epoch
                set_learning_rate(state.optimizer, learning_rate(config, epoch))
                state.step_terms_ST[state.step] = train_step(x_BCHW, labels_B, weight_of(epoch))
                state.step += 1
                if state.average:
                    decay = config.optimizer.weight_average
                    update_averages(state.average, (state.model, state.objective), decay, state.total_steps)
                notify(callbacks, "on_step", state)
        record = epoch_record(state, data, config)
        state.end_epoch(record, config)
        notify(callbacks, "on_epoch", state)
    return state.history


def batches(
    images: Split, shuffled: Split, state: TrainingState, config: Config
) -> Iterator[tuple[Tensor, Tensor]]:
    """The batches of the current epoch from its current step on: images (B, C, H, W) and labels (B,).

    They are slices of the images, which are shuffled in one operation at the start.
    """
    generator = stream(config.seed, "shuffle", state.epoch + 1, state.device)
    order_N = torch.randperm(len(images), generator=generator, device=state.device)
    torch.index_select(images.images, 0, order_N, out=shuffled.images)
    torch.index_select(images.labels, 0, order_N, out=shuffled.labels)
    for start in range(state.step * config.batch_size, len(images), config.batch_size):
        index = slice(start, start + config.batch_size)
        yield shuffled.batch(index, state.noise["pixels"]), shuffled.labels[index]
