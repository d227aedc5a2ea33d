"""Device functions: the modulations a and b of a tile of pairs, made in registers."""

from __future__ import annotations

import triton
import triton.language as tl

from ditkernels.triton.blocks import settled


@triton.jit
def features_of(
    rows,
    there,
    receiver,
    sender,
    feature,
    e,
    positions,
    v1,
    INNER: tl.constexpr,
    FORM: tl.constexpr,
    TRANSPOSED: tl.constexpr,
):
    """What a projection multiplies: rows of e, or silu((r_j - r_i) V1), for a list of pairs and a block of features.

    rows, receiver, sender: (pairs,), pair row and token numbers; there: (pairs,), which are allowed
    Returns (pairs, features) float32, 0 where the pair or the feature is not there; (features, pairs) if TRANSPOSED.
    """
    real = feature < INNER
    if TRANSPOSED:
        keep = there[None, :] & real[:, None]
    else:
        keep = there[:, None] & real[None, :]
    if FORM == "projected":
        if TRANSPOSED:
            place = rows[None, :] * INNER + feature[:, None]
        else:
            place = rows[:, None] * INNER + feature[None, :]
        x = tl.load(e + place, mask=keep, other=0.0).to(tl.float32)
    else:
        z = tl.zeros(keep.shape, tl.float32)
        for axis in tl.static_range(3):
            weight = tl.load(v1 + axis * INNER + feature, mask=real, other=0.0)
            to = tl.load(positions + sender * 3 + axis, mask=there, other=0.0)
            delta = to - tl.load(positions + receiver * 3 + axis, mask=there, other=0.0)
            if TRANSPOSED:
                z += weight[:, None] * delta[None, :]
            else:
                z += delta[:, None] * weight[None, :]
        x = z / (1 + tl.exp(-z))
    return x


@triton.jit
def projected(
    rows,
    there,
    receiver,
    sender,
    channel,
    exists,
    e,
    weight_a,
    weight_b,
    positions,
    v1,
    CHANNELS: tl.constexpr,
    INNER: tl.constexpr,
    FEATURES: tl.constexpr,
    FORM: tl.constexpr,
    DOT: tl.constexpr,
):
    """The projections of the features of a list of pairs: a and b, (pairs, channels) each."""
    a = tl.zeros([rows.shape[0], channel.shape[0]], tl.float32)
    b = a
    for start in range(0, INNER, FEATURES):
        feature = start + tl.arange(0, FEATURES)
        x = features_of(rows, there, receiver, sender, feature, e, positions, v1, INNER, FORM, False)
        x = settled(x.to(DOT))
        keep = (feature < INNER)[:, None] & exists[None, :]
        place = feature[:, None] * CHANNELS + channel[None, :]
        w = tl.load(weight_a + place, mask=keep, other=0.0).to(DOT)
        a = tl.dot(x, w, a, input_precision="ieee")
        if weight_b is not None:
            w = tl.load(weight_b + place, mask=keep, other=0.0).to(DOT)
            b = tl.dot(x, w, b, input_precision="ieee")
    if weight_b is None:
        b = a
    return a, b


@triton.jit
def modulations(
    i,
    j,
    token,
    rows,
    allowed,
    channel,
    exists,
    a,
    b,
    e,
    weight_a,
    weight_b,
    positions,
    v1,
    index,
    table_a,
    table_b,
    CHANNELS: tl.constexpr,
    INNER: tl.constexpr,
    FEATURES: tl.constexpr,
    FORM: tl.constexpr,
    DOT: tl.constexpr,
):
    """a and b of a tile, (R, S, channels) float32; 0 where the pair is not allowed.

    i: (R,), j: (S,), atoms of the molecule whose first token is `token`; rows: (R, S), pair rows
    """
    R: tl.constexpr = i.shape[0]
    S: tl.constexpr = j.shape[0]
    keep = allowed[:, :, None] & exists[None, None, :]
    if FORM == "dense":
        place = rows[:, :, None] * CHANNELS + channel[None, None, :]
        x = tl.load(a + place, mask=keep, other=0.0).to(tl.float32)
        if b is None:
            y = x
        else:
            y = tl.load(b + place, mask=keep, other=0.0).to(tl.float32)
    elif FORM == "table":
        x, y = table_rows(rows, allowed, channel, keep, index, table_a, table_b, CHANNELS)
    else:
        PAIRS: tl.constexpr = R * S
        receiver = tl.reshape(tl.broadcast_to((token + i)[:, None], [R, S]), [PAIRS])
        sender = tl.reshape(tl.broadcast_to((token + j)[None, :], [R, S]), [PAIRS])
        x, y = projected(
            tl.reshape(rows, [PAIRS]),
            tl.reshape(allowed, [PAIRS]),
            receiver,
            sender,
            channel,
            exists,
            e,
            weight_a,
            weight_b,
            positions,
            v1,
            CHANNELS,
            INNER,
            FEATURES,
            FORM,
            DOT,
        )
        x = tl.reshape(x, [R, S, channel.shape[0]])
        y = tl.reshape(y, [R, S, channel.shape[0]])
        if index is not None:
            x_row, y_row = table_rows(rows, allowed, channel, keep, index, table_a, table_b, CHANNELS)
            x += x_row
            y += y_row
    return x, y


@triton.jit
def table_rows(rows, allowed, channel, keep, index, table_a, table_b, CHANNELS: tl.constexpr):
    """The rows of both tables that the pairs of a tile pick, (R, S, channels)."""
    row = tl.load(index + rows, mask=allowed, other=0).to(tl.int64)
    place = row[:, :, None] * CHANNELS + channel[None, None, :]
    x = tl.load(table_a + place, mask=keep, other=0.0).to(tl.float32)
    if table_b is None:
        y = x
    else:
        y = tl.load(table_b + place, mask=keep, other=0.0).to(tl.float32)
    return x, y
