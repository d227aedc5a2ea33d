#include "level.h"

namespace ditkernels {

extern const Kernels kBaselineFloat, kBaselineDouble;
const Kernels kBaselineFloat = make_kernels<float>("baseline");
const Kernels kBaselineDouble = make_kernels<double>("baseline");

}  // namespace ditkernels
