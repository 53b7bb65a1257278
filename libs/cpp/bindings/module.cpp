// The extension module sage_native._native. Every operator of the distribution is bound here.
#include <pybind11/pybind11.h>

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "bind.hpp"
#include "sage/canonical_stream.hpp"
#include "sage/prefix_hash.hpp"
#include "sage/token_estimate.hpp"

namespace py = pybind11;

namespace {

std::string type_name(PyObject* object) { return Py_TYPE(object)->tp_name; }

void append_segment(sage::CanonicalStream& stream, PyObject* segment, Py_ssize_t index) {
  if (PyBytes_Check(segment)) {
    stream.append_bytes({PyBytes_AS_STRING(segment), static_cast<std::size_t>(PyBytes_GET_SIZE(segment))});
    return;
  }
  if (!PyUnicode_Check(segment))
    throw py::type_error("segments[" + std::to_string(index) + "] must be str or bytes, not " + type_name(segment));
  Py_ssize_t size = 0;
  if (const char* utf8 = PyUnicode_AsUTF8AndSize(segment, &size)) {
    stream.append_text({utf8, static_cast<std::size_t>(size)});
    return;
  }
  // Lone surrogates have no UTF-8; their three-byte form holds neither FE nor FF.
  if (!PyErr_ExceptionMatches(PyExc_UnicodeEncodeError)) throw py::error_already_set();
  PyErr_Clear();
  const auto encoded =
      py::reinterpret_steal<py::object>(PyUnicode_AsEncodedString(segment, "utf-8", "surrogatepass"));
  if (!encoded) throw py::error_already_set();
  stream.append_text({PyBytes_AS_STRING(encoded.ptr()), static_cast<std::size_t>(PyBytes_GET_SIZE(encoded.ptr()))});
}

// The GIL stays held: a 4 kB body takes 2 us and the largest, 8 MB, about 5 ms, which is as long as another thread that
// runs Python may keep the lock from being taken back.
py::tuple features_of(const sage::EstimateVariant& variant, const py::object& segments, std::int64_t block_bytes) {
  if (block_bytes % 8 != 0 || block_bytes < 8 || block_bytes > static_cast<std::int64_t>(sage::max_block_bytes))
    throw py::value_error("block_bytes must be a multiple of 8 from 8 to " + std::to_string(sage::max_block_bytes) +
                          ", not " + std::to_string(block_bytes));
  if (PyUnicode_Check(segments.ptr()) || PyBytes_Check(segments.ptr()))
    throw py::type_error("segments must be a sequence of str or bytes, not one " + type_name(segments.ptr()));
  const auto items =
      py::reinterpret_steal<py::object>(PySequence_Fast(segments.ptr(), "segments must be a sequence of str or bytes"));
  if (!items) throw py::error_already_set();

  sage::CanonicalStream stream;
  for (Py_ssize_t index = 0; index < PySequence_Fast_GET_SIZE(items.ptr()); ++index) {
    const auto segment = py::reinterpret_borrow<py::object>(PySequence_Fast_GET_ITEM(items.ptr(), index));
    append_segment(stream, segment.ptr(), index);
  }
  stream.close();

  const std::vector<std::uint64_t> hashes =
      sage::prefix_hashes(stream.data(), stream.size(), static_cast<std::size_t>(block_bytes));
  py::list values(hashes.size());
  for (std::size_t i = 0; i < hashes.size(); ++i) values[i] = py::int_(hashes[i]);
  return py::make_tuple(sage::estimate_tokens(stream, variant), std::move(values));
}

sage::EstimateVariant variant_named(const std::string& name) {
  std::string known;
  for (const sage::EstimateVariant& variant : sage::supported_variants()) {
    if (variant.name == name) return variant;
    known += (known.empty() ? "" : ", ") + std::string(variant.name);
  }
  throw py::value_error("no variant '" + name + "' on this processor; it has: " + known);
}

}  // namespace

PYBIND11_MODULE(_native, module) {
  module.doc() = "C++ operators of SAGE";
  const sage::EstimateVariant fastest = sage::supported_variants().back();

  module.def(
      "request_features",
      [fastest](const py::object& segments, std::int64_t block_bytes) {
        return features_of(fastest, segments, block_bytes);
      },
      py::arg("segments"), py::arg("block_bytes") = 256, py::pos_only(),
      "Return (token estimate, chained 64-bit hashes of the full prefix blocks) of a conversation's segments.");
  module.def(
      "request_features_with",
      [](const std::string& variant, const py::object& segments, std::int64_t block_bytes) {
        return features_of(variant_named(variant), segments, block_bytes);
      },
      py::arg("variant"), py::arg("segments"), py::arg("block_bytes"), py::pos_only(),
      "request_features with a named variant of the counting loop; for tests and measurements.");
  module.def(
      "variants",
      [] {
        py::tuple names(sage::supported_variants().size());
        std::size_t i = 0;
        for (const sage::EstimateVariant& variant : sage::supported_variants())
          names[i++] = py::str(variant.name.data(), variant.name.size());
        return names;
      },
      "Names of the counting-loop variants that this processor runs, slowest first; the last is the one in use.");

  bind_vector_scan(module);
}
