#include "level.h"

namespace ditkernels {

extern const AtomwiseKernels kAtomwiseAvx2[2];
const AtomwiseKernels kAtomwiseAvx2[2] = {make_kernels<float>(), make_kernels<double>()};

}  // namespace ditkernels
