#include "level.h"

namespace ditkernels {

extern const PairKernels kPairBaseline[2];
const PairKernels kPairBaseline[2] = {make_kernels<float>(), make_kernels<double>()};

}  // namespace ditkernels
