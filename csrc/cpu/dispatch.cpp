// Chooses the kernels' instruction-set level once per process: the best one this processor has, or the one that the
// environment variable DITKERNELS_CPU_LEVEL names (baseline, avx2 or avx512).
#include "dispatch.h"

#include <cstdlib>
#include <cstring>
#include <stdexcept>
#include <string>

namespace ditkernels {

namespace {

struct Choice {
  const char* name;
  Level level;
  bool supported;
};

struct Choices {
  Choice level[3];
  int count;
};

// Best level first. The whole feature set of the psABI levels v3 and v4 is asked for, since the compiler may use all of
// it.
Choices levels() {
#if defined(__x86_64__)
  __builtin_cpu_init();
  const bool v3 = __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") && __builtin_cpu_supports("bmi") &&
                  __builtin_cpu_supports("bmi2") && __builtin_cpu_supports("popcnt") &&
                  __builtin_cpu_supports("sse4.2") && __builtin_cpu_supports("f16c") &&
                  __builtin_cpu_supports("lzcnt") && __builtin_cpu_supports("movbe");
#if defined(DITKERNELS_EMULATE_AVX512)
  const bool v4 = v3;
#else
  const bool v4 = v3 && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
                  __builtin_cpu_supports("avx512cd") && __builtin_cpu_supports("avx512dq") &&
                  __builtin_cpu_supports("avx512vl");
#endif
  return {{{"avx512", Level::Avx512, v4},
           {"avx2", Level::Avx2, v3},
           {"baseline", Level::Baseline, true}},
          3};
#else
  return {{{"baseline", Level::Baseline, true}}, 1};
#endif
}

Choice choose_level() {
  const Choices all = levels();
  const char* wanted = std::getenv("DITKERNELS_CPU_LEVEL");
  if (!wanted || !*wanted) {
    for (int i = 0; i < all.count; ++i) {
      if (all.level[i].supported) return all.level[i];
    }
  }
  std::string names;
  for (int i = 0; i < all.count; ++i) {
    if (!all.level[i].supported) continue;
    if (wanted && std::strcmp(wanted, all.level[i].name) == 0) return all.level[i];
    names += names.empty() ? all.level[i].name : std::string(", ") + all.level[i].name;
  }
  throw std::runtime_error(std::string("DITKERNELS_CPU_LEVEL=") + (wanted ? wanted : "") +
                           " is not a level that this processor and build have; choose one of: " + names);
}

const Choice& chosen_level() {
  static const Choice chosen = choose_level();
  return chosen;
}

}  // namespace

Level cpu_level() { return chosen_level().level; }

const char* cpu_level_name() { return chosen_level().name; }

}  // namespace ditkernels
