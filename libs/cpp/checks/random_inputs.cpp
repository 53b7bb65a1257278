// Runs a fuzz target on random inputs where there is no libFuzzer: TARGET [SECONDS [SEED]].
#include <chrono>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <random>
#include <vector>

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size);

int main(int count, char** arguments) {
  const double seconds = count > 1 ? std::atof(arguments[1]) : 10;
  std::mt19937_64 random(count > 2 ? std::strtoull(arguments[2], nullptr, 10) : 1);
  const auto began = std::chrono::steady_clock::now();
  std::vector<std::uint8_t> input;
  std::size_t runs = 0;
  do {
    input.resize(random() % 2048);
    for (std::uint8_t& byte : input) byte = static_cast<std::uint8_t>(random());
    LLVMFuzzerTestOneInput(input.data(), input.size());
    ++runs;
  } while (std::chrono::duration<double>(std::chrono::steady_clock::now() - began).count() < seconds);
  std::printf("%zu inputs, nothing found\n", runs);
  return 0;
}
