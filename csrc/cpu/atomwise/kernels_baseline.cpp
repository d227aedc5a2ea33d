#include "level.h"

namespace ditkernels {

extern const AtomwiseKernels kAtomwiseBaseline[2];
const AtomwiseKernels kAtomwiseBaseline[2] = {make_kernels<float>(), make_kernels<double>()};

}  // namespace ditkernels
