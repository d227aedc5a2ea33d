"""Images to tokens and back."""

from __future__ import annotations

import pytest
import torch

from ditkernels.models.d3mes.patches import grid_positions, line_positions, patchify, unpatchify


@pytest.mark.parametrize("rows", [1, 2, 3, 4, 9])
def test_a_token_is_some_rows_of_all_channels(rows):
    image = torch.randn(2, 4, 36, 3)
    tokens = patchify(image, rows)
    assert tokens.shape == (2, 36 // rows, 4 * rows * 3)
    for n in range(36 // rows):
        assert torch.equal(tokens[:, n], image[:, :, n * rows : (n + 1) * rows].flatten(1))


@pytest.mark.parametrize("rows", [1, 2, 3, 4, 9])
def test_unpatchify_puts_rows_back_from_numbers_with_the_channel_last(rows):
    image = torch.randn(2, 4, 36, 3)
    tokens = image.permute(0, 2, 3, 1).reshape(2, 36 // rows, -1)
    assert torch.equal(unpatchify(tokens, rows, 3), image)


def test_number_n_of_a_token_is_row_column_channel():
    tokens = torch.arange(2 * 54.0).view(1, 2, 54)
    image = unpatchify(tokens, 3, 3)
    for p in range(3):
        for q in range(3):
            for channel in range(6):
                assert image[0, channel, 3 + p, q] == 54 + 18 * p + 6 * q + channel


def test_line_positions_tell_all_tokens_apart():
    codes = line_positions(36, 96)
    assert torch.cdist(codes, codes).fill_diagonal_(1.0).min() > 0.1
    assert torch.equal(codes[0], torch.cat((torch.zeros(48), torch.ones(48))))


def test_grid_positions_are_those_of_a_square():
    codes, line = grid_positions(9, 96), line_positions(3, 48)
    for n in range(9):
        assert torch.equal(codes[n], torch.cat((line[n % 3], line[n // 3])))
    with pytest.raises(ValueError, match="square number of tokens, got 10"):
        grid_positions(10, 96)
