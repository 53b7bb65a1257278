#include "sage/prefix_hash.hpp"

#include <array>
#include <cstring>

#include "sage/wide_arithmetic.hpp"

namespace sage {

namespace {

// The first prime above 2^64 divided by the golden ratio.
constexpr std::uint64_t modulus = 0x9E3779B97F4A7C55u;
// 2^64 mod p: what one word to the left weighs.
constexpr std::uint64_t radix = 0u - modulus;
// Words summed before one reduction: a block of 256 bytes, the default, needs a single one.
constexpr std::size_t words_a_sum = 32;

constexpr std::array<std::uint64_t, words_a_sum + 1> powers_of_radix() {
  std::array<std::uint64_t, words_a_sum + 1> powers{};
  powers[0] = 1;
  for (std::size_t i = 1; i <= words_a_sum; ++i) powers[i] = remainder(multiply(powers[i - 1], radix), modulus);
  return powers;
}

constexpr auto powers = powers_of_radix();

std::uint64_t load_little_endian(const std::uint8_t* bytes) noexcept {
#if defined(__BYTE_ORDER__) && __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__
  std::uint64_t word;
  std::memcpy(&word, bytes, sizeof word);
  return word;
#else
  std::uint64_t word = 0;
  for (int i = 7; i >= 0; --i) word = word << 8 | bytes[i];
  return word;
#endif
}

// A sum of 64 x 64-bit products in 192 bits, reduced once at the end: a division costs as much as ten products.
class ProductSum {
 public:
  void add(std::uint64_t a, std::uint64_t b) noexcept {
    const Wide product = multiply(a, b);
    low_ += product.low;
    const std::uint64_t carry = low_ < product.low ? 1 : 0;
    // The high half of a product is at most 2^64 - 2, so the carry cannot overflow it.
    const std::uint64_t high = product.high + carry;
    middle_ += high;
    top_ += middle_ < high ? 1 : 0;
  }

  std::uint64_t reduced() const noexcept {
    const std::uint64_t upper = remainder({top_, middle_}, modulus);
    return remainder({upper, low_}, modulus);
  }

 private:
  std::uint64_t low_ = 0;
  std::uint64_t middle_ = 0;
  std::uint64_t top_ = 0;
};

// SplitMix64's output function (Steele, Lea and Flood, 2014).
constexpr std::uint64_t avalanche(std::uint64_t value) noexcept {
  value += 0x9E3779B97F4A7C15u;
  value = (value ^ value >> 30) * 0xBF58476D1CE4E5B9u;
  value = (value ^ value >> 27) * 0x94D049BB133111EBu;
  return value ^ value >> 31;
}

// (state + 2^64 * block) mod p, by Horner's rule over groups of `words_a_sum` words from the highest down.
std::uint64_t absorb(std::uint64_t state, const std::uint8_t* block, std::size_t words) noexcept {
  std::uint64_t rest = 0;
  while (words > 0) {
    const std::size_t group = (words - 1) % words_a_sum + 1;
    words -= group;
    ProductSum sum;
    sum.add(rest, powers[group]);
    for (std::size_t i = 0; i < group; ++i) sum.add(load_little_endian(block + 8 * (words + i)), powers[i]);
    rest = sum.reduced();
  }
  ProductSum sum;
  sum.add(state, 1);
  sum.add(rest, radix);
  return sum.reduced();
}

}  // namespace

std::vector<std::uint64_t> prefix_hashes(const std::uint8_t* stream, std::size_t size, std::size_t block_bytes) {
  std::vector<std::uint64_t> hashes;
  hashes.reserve(size / block_bytes);
  std::uint64_t state = block_bytes;
  for (std::size_t start = 0; size - start >= block_bytes; start += block_bytes) {
    state = avalanche(absorb(state, stream + start, block_bytes / 8));
    hashes.push_back(state);
  }
  return hashes;
}

}  // namespace sage
