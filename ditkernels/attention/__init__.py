"""What the attention operators share: fields, argument checks, pairs in plain PyTorch, registration with torch.

Private to this package: users import :mod:`ditkernels.pair_attention` and :mod:`ditkernels.so3_attention`.
"""
