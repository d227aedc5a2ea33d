#include "level.h"

namespace ditkernels {

extern const So3Kernels kSo3Avx2[2];
const So3Kernels kSo3Avx2[2] = {make_so3_kernels<float>(), make_so3_kernels<double>()};

}  // namespace ditkernels
