#pragma once

#include "kernels.h"

namespace ditkernels {

// Kernels of the level in use for float or double arithmetic. Throws std::runtime_error if the environment variable
// DITKERNELS_CPU_LEVEL asks for a level that is unknown or that this processor lacks.
const Kernels& kernels(bool double_precision);

}  // namespace ditkernels
