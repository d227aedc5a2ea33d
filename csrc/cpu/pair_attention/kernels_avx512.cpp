#include "level.h"

namespace ditkernels {

extern const PairKernels kPairAvx512[2];
const PairKernels kPairAvx512[2] = {make_kernels<float>(), make_kernels<double>()};

}  // namespace ditkernels
