// Python module `ditkernels._build_info`: how the native code of this installation was built.
//
// Plain data for `ditkernels info` and for bug reports. It is bound to one Python version (pybind11 has no stable ABI),
// unlike the operator library, so no operator depends on it. setup.py passes the DITKERNELS_* strings.

#include <pybind11/pybind11.h>

#include <sstream>
#include <string>

namespace {

std::string compiler() {
#if defined(__clang__)
  return "clang " __clang_version__;
#elif defined(__GNUC__)
  return "gcc " __VERSION__;
#else
#error "ditkernels is built with GCC or Clang"
#endif
}

std::string architecture() {
#if defined(__x86_64__)
  return "x86_64";
#elif defined(__aarch64__)
  return "aarch64";
#else
  return "other";
#endif
}

pybind11::list words(const std::string& text) {
  std::istringstream stream(text);
  pybind11::list result;
  for (std::string word; stream >> word;) {
    result.append(word);
  }
  return result;
}

}  // namespace

PYBIND11_MODULE(_build_info, module) {
  module.doc() = "How the native code of this installation was built (strings; no paths, no dates).";
  module.attr("compiler") = compiler();                      // name and version
  module.attr("architecture") = architecture();              // processor family
  module.attr("cxx_standard") = static_cast<long>(__cplusplus);  // value of __cplusplus, 201703 for C++17
  module.attr("flags") = DITKERNELS_FLAGS;                   // flags common to all sources
  module.attr("torch_version") = DITKERNELS_TORCH_VERSION;   // the torch whose headers were used
  module.attr("torch_target") = DITKERNELS_TORCH_TARGET;     // oldest torch ABI that the operator library accepts
  module.attr("cpu_levels") = words(DITKERNELS_CPU_LEVELS);  // instruction-set levels compiled in
}
