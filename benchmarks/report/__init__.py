"""Everything that is made from result files, and from nothing else: `ditkernels bench report` and `compare`.

tables    results as tables
targets   what to reach, and whether it was reached
plots     speed-ups, scaling with the size of a molecule, roofline
quality   the quality of conformers, from the files of `ditkernels evaluate`
page      benchmarks/results/README.md, and the generated parts of README.md
compare   a new run against the committed one
"""
