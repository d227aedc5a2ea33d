// The library of native operators, registered through torch's stable ABI, so that one build serves every torch from
// 2.10 up. Each operator registers its own part.
#include <torch/csrc/stable/library.h>

#include <string>

#include "../cpu/dispatch.h"

namespace {

std::string cpu_level() { return ditkernels::cpu_level_name(); }

}  // namespace

STABLE_TORCH_LIBRARY(ditkernels_native, m) { m.def("cpu_level() -> str"); }

STABLE_TORCH_LIBRARY_IMPL(ditkernels_native, CompositeExplicitAutograd, m) {
  m.impl("cpu_level", TORCH_BOX(&cpu_level));
}
