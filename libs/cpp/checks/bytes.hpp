// What the fuzz targets share: values out of the fuzzer's bytes, and the end of a run that found a fault.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstdlib>

namespace sage::checks {

inline void require(bool holds, const char* what) {
  if (holds) return;
  std::fprintf(stderr, "does not hold: %s\n", what);
  std::abort();
}

// Reads on with zeros behind the end.
class Bytes {
 public:
  Bytes(const std::uint8_t* data, std::size_t size) : data_(data), left_(size) {}

  std::uint8_t next() {
    if (left_ == 0) return 0;
    --left_;
    return *data_++;
  }
  std::uint32_t word() {
    std::uint32_t value = 0;
    for (int i = 0; i < 4; ++i) value = value << 8 | next();
    return value;
  }
  // A number from 0 to `limit` - 1.
  unsigned below(std::size_t limit) {
    const std::uint32_t value = limit <= 256 ? next() : word();
    return static_cast<unsigned>(value % limit);
  }

 private:
  const std::uint8_t* data_;
  std::size_t left_;
};

}  // namespace sage::checks
