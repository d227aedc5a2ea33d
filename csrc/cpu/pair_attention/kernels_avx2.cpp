#include "level.h"

namespace ditkernels {

extern const PairKernels kPairAvx2[2];
const PairKernels kPairAvx2[2] = {make_kernels<float>(), make_kernels<double>()};

}  // namespace ditkernels
