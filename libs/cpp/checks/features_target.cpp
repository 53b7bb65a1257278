// Fuzz target: the token estimate is the same in every variant, and prefixes have the same hashes.
#include <cstdint>
#include <vector>

#include "bytes.hpp"
#include "sage/canonical_stream.hpp"
#include "sage/prefix_hash.hpp"
#include "sage/token_estimate.hpp"

using sage::checks::require;

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  sage::checks::Bytes bytes(data, size);
  const std::size_t block_bytes = 8 * (1 + bytes.below(40));
  sage::CanonicalStream whole, beginning;
  const std::size_t segments = bytes.below(6);
  for (std::size_t segment = 0; segment < segments; ++segment) {
    std::vector<char> text(bytes.below(700));
    for (char& character : text) character = static_cast<char>(bytes.next());
    const bool is_text = bytes.below(2) == 0;
    for (sage::CanonicalStream* stream : {&whole, &beginning}) {
      if (stream == &beginning && segment + 1 == segments) continue;
      if (is_text)
        stream->append_text({text.data(), text.size()});
      else
        stream->append_bytes({text.data(), text.size()});
    }
  }
  whole.close();
  beginning.close();
  const std::vector<sage::EstimateVariant> variants = sage::supported_variants();
  const std::uint64_t tokens = sage::estimate_tokens(whole, variants.front());
  for (const sage::EstimateVariant& variant : variants)
    require(sage::estimate_tokens(whole, variant) == tokens, "all variants estimate the same");
  const auto hashes = sage::prefix_hashes(whole.data(), whole.size(), block_bytes);
  const auto first = sage::prefix_hashes(beginning.data(), beginning.size(), block_bytes);
  require(first.size() <= hashes.size(), "a beginning has no more blocks than the whole");
  for (std::size_t at = 0; at < first.size(); ++at) require(first[at] == hashes[at], "a beginning has the same hashes");
  return 0;
}
