#include "level.h"

namespace ditkernels {

extern const Kernels kAvx2Float, kAvx2Double;
const Kernels kAvx2Float = make_kernels<float>("avx2");
const Kernels kAvx2Double = make_kernels<double>("avx2");

}  // namespace ditkernels
