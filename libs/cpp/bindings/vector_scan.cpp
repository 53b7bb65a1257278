#include "sage/vector_scan.hpp"

#include <pybind11/numpy.h>
#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

#include <algorithm>
#include <cstring>
#include <memory>
#include <optional>
#include <string>
#include <utility>

#include "bind.hpp"
#include "sage/quantization.hpp"

namespace py = pybind11;

namespace {

using Floats = py::array_t<float, py::array::c_style | py::array::forcecast>;
using Int8s = py::array_t<std::int8_t, py::array::c_style>;
using Flags = py::array_t<bool, py::array::c_style>;

constexpr std::size_t most_threads = 64;

std::string shape_of(const py::array& array) { return py::str(array.attr("shape")); }

std::size_t rows_of(const py::array& array, std::size_t dimension, const char* name) {
  if (array.ndim() != 2 || static_cast<std::size_t>(array.shape(1)) != dimension)
    throw py::value_error(std::string(name) + " have shape (n, " + std::to_string(dimension) + "), got " +
                          shape_of(array));
  return static_cast<std::size_t>(array.shape(0));
}

void check_length(const py::array& array, std::size_t count, const char* name) {
  if (array.ndim() != 1 || static_cast<std::size_t>(array.shape(0)) != count)
    throw py::value_error(std::string(name) + " has shape (" + std::to_string(count) + ",), got " + shape_of(array));
}

std::size_t checked_threads(std::int64_t threads) {
  if (threads < 1) throw py::value_error("threads is " + std::to_string(threads) + "; take at least one");
  return std::min(static_cast<std::size_t>(threads), most_threads);
}

sage::ScanVariant scan_named(const std::optional<std::string>& name) {
  const std::vector<sage::ScanVariant> variants = sage::supported_scans();
  if (!name) return variants.back();
  std::string known;
  for (const sage::ScanVariant& variant : variants) {
    if (variant.name == *name) return variant;
    known += (known.empty() ? "" : ", ") + std::string(variant.name);
  }
  throw py::value_error("no scan '" + *name + "' on this processor; it has: " + known);
}

// Hand the memory of a vector over to an array.
template <typename T>
py::array_t<T> as_array(std::vector<T>&& values) {
  auto held = std::make_unique<std::vector<T>>(std::move(values));
  const py::capsule owner(held.get(), [](void* memory) { delete static_cast<std::vector<T>*>(memory); });
  const std::vector<T>& vector = *held.release();
  return py::array_t<T>(static_cast<py::ssize_t>(vector.size()), vector.data(), owner);
}

std::unique_ptr<sage::PackedRows> make_rows(std::int64_t dimension) {
  if (dimension < 1 || dimension > static_cast<std::int64_t>(sage::max_dimension))
    throw py::value_error("dimension is " + std::to_string(dimension) + "; it must be from 1 to " +
                          std::to_string(sage::max_dimension));
  return std::make_unique<sage::PackedRows>(static_cast<std::size_t>(dimension));
}

void append_codes(sage::PackedRows& rows, const Int8s& values, const Floats& scales, const Floats& errors) {
  const std::size_t count = rows_of(values, rows.dimension(), "values");
  check_length(scales, count, "scales");
  check_length(errors, count, "errors");
  for (std::size_t row = 0; row < count; ++row) {
    const float scale = scales.data()[row], error = errors.data()[row];
    // Not so for NaN either.
    if (!(scale >= 0 && scale <= 1) || !(error >= 0 && error <= 2))
      throw py::value_error("row " + std::to_string(row) + " has scale " + std::to_string(scale) + " and error " +
                            std::to_string(error) + "; of a unit vector they are from 0 to 1 and from 0 to 2");
  }
  const py::gil_scoped_release release;
  rows.append(values.data(), scales.data(), errors.data(), count);
}

void append_vectors(sage::PackedRows& rows, const Floats& vectors) {
  const std::size_t count = rows_of(vectors, rows.dimension(), "vectors"), dimension = rows.dimension();
  const py::gil_scoped_release release;
  std::vector<std::int8_t> values(count * dimension);
  std::vector<float> scales(count), errors(count);
  if (!sage::quantize_rows(vectors.data(), count, dimension, values.data(), scales.data(), errors.data()))
    throw py::value_error("a vector holds NaN or infinity");
  for (std::size_t row = 0; row < count; ++row) {
    if (sage::squares_of(vectors.data() + row * dimension, dimension) > 1.0002) throw py::value_error("vector " + std::to_string(row) + " is longer than 1; bring it to length 1");
  }
  rows.append(values.data(), scales.data(), errors.data(), count);
}

py::tuple nearest(const sage::PackedRows& rows, const Floats& queries, std::int64_t k,
                  const std::optional<Flags>& allowed, std::int64_t threads,
                  const std::optional<std::string>& variant) {
  if (k < 1) throw py::value_error("k is " + std::to_string(k) + "; ask for at least one neighbour");
  const std::size_t count = rows_of(queries, rows.dimension(), "queries"), workers = checked_threads(threads);
  if (allowed && allowed->ndim() != 1) throw py::value_error("allowed has shape (n,), got " + shape_of(*allowed));
  const auto* flags = allowed ? reinterpret_cast<const std::uint8_t*>(allowed->data()) : nullptr;
  const std::size_t flagged = allowed ? static_cast<std::size_t>(allowed->shape(0)) : 0;
  const sage::ScanVariant scan = scan_named(variant);
  sage::Candidates found;
  {
    const py::gil_scoped_release release;
    const sage::QueryCodes codes(scan, queries.data(), count, rows.dimension());
    found = sage::nearest_candidates(rows, codes, static_cast<std::size_t>(k), flags, flagged, workers);
  }
  return py::make_tuple(as_array(std::move(found.offsets)), as_array(std::move(found.rows)));
}

py::array_t<std::int64_t> pairs_above(const std::vector<const sage::PackedRows*>& segments, const Floats& queries,
                                      float threshold, std::int64_t most, std::int64_t threads,
                                      const std::optional<std::string>& variant) {
  // Not so for NaN either.
  if (!(threshold >= -1 && threshold <= 1))
    throw py::value_error("threshold is " + std::to_string(threshold) + "; a similarity is from -1 to 1");
  if (most < 0) throw py::value_error("most is " + std::to_string(most) + "; it cannot be negative");
  if (queries.ndim() != 2 || queries.shape(1) < 1 ||
      queries.shape(1) > static_cast<py::ssize_t>(sage::max_dimension))
    throw py::value_error("queries have shape (n, d), got " + shape_of(queries));
  const auto dimension = static_cast<std::size_t>(queries.shape(1));
  for (const sage::PackedRows* rows : segments) {
    if (rows == nullptr) throw py::type_error("segments are PackedRows, not None");
    if (rows->dimension() != dimension)
      throw py::value_error("the rows have " + std::to_string(rows->dimension()) + " dimensions, the queries " +
                            std::to_string(dimension));
  }
  const std::size_t workers = checked_threads(threads);
  const sage::ScanVariant scan = scan_named(variant);
  std::vector<sage::Pair> pairs;
  {
    const py::gil_scoped_release release;
    const sage::QueryCodes codes(scan, queries.data(), static_cast<std::size_t>(queries.shape(0)), dimension);
    pairs = sage::pairs_above(segments, codes, threshold, static_cast<std::size_t>(most), workers);
  }
  static_assert(sizeof(sage::Pair) == 3 * sizeof(std::int64_t));
  py::array_t<std::int64_t> result({static_cast<py::ssize_t>(pairs.size()), py::ssize_t{3}});
  if (!pairs.empty()) std::memcpy(result.mutable_data(), pairs.data(), pairs.size() * sizeof(sage::Pair));
  return result;
}

py::tuple quantize(const Floats& vectors) {
  if (vectors.ndim() != 2 || vectors.shape(1) < 1) throw py::value_error("vectors have shape (n, d), got " + shape_of(vectors));
  const py::ssize_t count = vectors.shape(0), dimension = vectors.shape(1);
  py::array_t<std::int8_t> values({count, dimension});
  py::array_t<float> scales(count), errors(count);
  if (!sage::quantize_rows(vectors.data(), static_cast<std::size_t>(count), static_cast<std::size_t>(dimension),
                           values.mutable_data(), scales.mutable_data(), errors.mutable_data()))
    throw py::value_error("a vector holds NaN or infinity");
  return py::make_tuple(values, scales, errors);
}

}  // namespace

void bind_vector_scan(py::module_& module) {
  py::class_<sage::PackedRows>(module, "PackedRows",
                               "Unit vectors of one dimension in int8, laid out for scanning; rows can only be added.")
      .def(py::init(&make_rows), py::arg("dimension"))
      .def("append", &append_codes, py::arg("values"), py::arg("scales"), py::arg("errors"),
           "Add rows that are quantized: int8 (m, d), float32 (m,), float32 (m,).")
      .def("append_vectors", &append_vectors, py::arg("vectors"), "Quantize and add unit vectors, float32 (m, d).")
      .def("nearest", &nearest, py::arg("queries"), py::arg("k"), py::arg("allowed") = py::none(),
           py::arg("threads") = 1, py::arg("variant") = py::none(),
           "Return (offsets, rows): rows[offsets[i]:offsets[i + 1]] hold the k nearest to query i, and maybe more.")
      .def("__len__", &sage::PackedRows::size)
      .def_property_readonly("dimension", &sage::PackedRows::dimension)
      .def_property_readonly("memory_bytes", &sage::PackedRows::memory);
  module.def("pairs_above", &pairs_above, py::arg("segments"), py::arg("queries"), py::arg("threshold"),
             py::arg("most"), py::arg("threads") = 1, py::arg("variant") = py::none(),
             "Return int64 (m, 3) of segment, row and query: all pairs of at least this similarity, and maybe more.");
  module.def("quantize", &quantize, py::arg("vectors"), "Return (values, scales, errors) of unit vectors (n, d).");
  module.def(
      "scan_variants",
      [] {
        py::list names;
        for (const sage::ScanVariant& variant : sage::supported_scans())
          names.append(py::str(variant.name.data(), variant.name.size()));
        return py::tuple(names);
      },
      "Names of the scans that this processor runs, slowest first; the last is the one in use.");
}
