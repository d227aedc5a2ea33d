"""How a case becomes a row of the results.

turns        contestants take turns in one process; ratios are taken within a turn
cpu, cuda    what times one run of one contestant
ceilings     what the machine can do at most, measured in the same run
memory       peak memory
record       a case measured: the one writer of rows
environment  the machine and the versions
"""
