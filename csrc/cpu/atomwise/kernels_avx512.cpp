#include "level.h"

namespace ditkernels {

extern const AtomwiseKernels kAtomwiseAvx512[2];
const AtomwiseKernels kAtomwiseAvx512[2] = {make_kernels<float>(), make_kernels<double>()};

}  // namespace ditkernels
