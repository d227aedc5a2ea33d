// Chooses the kernels' instruction-set level once per process: the best one this processor has, or the one that the
// environment variable DITKERNELS_CPU_LEVEL names (baseline, avx2 or avx512).
#pragma once

namespace ditkernels {

enum class Level { Baseline, Avx2, Avx512 };

// Both throw std::runtime_error if DITKERNELS_CPU_LEVEL asks for a level that is unknown or that this processor lacks.
Level cpu_level();
const char* cpu_level_name();

// The kernels of the level in use; `baseline`, `avx2` and `avx512` are pairs {for float, for double} arithmetic.
template <class Kernels>
const Kernels& choose(const Kernels* baseline, const Kernels* avx2, const Kernels* avx512, bool double_precision) {
  const Level level = cpu_level();
  return (level == Level::Avx512 ? avx512 : level == Level::Avx2 ? avx2 : baseline)[double_precision];
}

// Defines NAME(double_precision) for an operator's tables kNAMEBaseline, kNAMEAvx2 and kNAMEAvx512 of type KERNELS.
#if defined(__x86_64__)
#define DITKERNELS_CHOOSE(NAME, KERNELS)                                                   \
  extern const KERNELS k##NAME##Baseline[2], k##NAME##Avx2[2], k##NAME##Avx512[2];         \
  static const KERNELS& kernels(bool double_precision) {                                   \
    return choose(k##NAME##Baseline, k##NAME##Avx2, k##NAME##Avx512, double_precision);    \
  }
#else
#define DITKERNELS_CHOOSE(NAME, KERNELS)                                                   \
  extern const KERNELS k##NAME##Baseline[2];                                               \
  static const KERNELS& kernels(bool double_precision) { return k##NAME##Baseline[double_precision]; }
#endif

}  // namespace ditkernels
