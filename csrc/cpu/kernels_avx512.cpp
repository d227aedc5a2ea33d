#include "level.h"

namespace ditkernels {

extern const Kernels kAvx512Float, kAvx512Double;
const Kernels kAvx512Float = make_kernels<float>("avx512");
const Kernels kAvx512Double = make_kernels<double>("avx512");

}  // namespace ditkernels
