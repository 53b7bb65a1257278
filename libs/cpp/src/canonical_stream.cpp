#include "sage/canonical_stream.hpp"

namespace sage {

namespace {
constexpr char terminator = '\xFF';
constexpr std::size_t typical_body_bytes = 8192;
}  // namespace

CanonicalStream::CanonicalStream() {
  buffer_.reserve(typical_body_bytes);
  buffer_.assign(margin, terminator);
}

void CanonicalStream::append_text(std::string_view utf8) {
  buffer_.append(utf8);
  buffer_.push_back(terminator);
  ++segment_count_;
}

void CanonicalStream::append_bytes(std::string_view bytes) {
  using namespace std::string_view_literals;
  for (;;) {
    const std::size_t clean = bytes.find_first_of("\xFE\xFF"sv);
    buffer_.append(bytes.substr(0, clean));
    if (clean == std::string_view::npos) break;
    buffer_.push_back('\xFE');
    buffer_.push_back(bytes[clean] == terminator ? '\x01' : '\x00');
    bytes.remove_prefix(clean + 1);
  }
  buffer_.push_back(terminator);
  ++segment_count_;
}

void CanonicalStream::close() {
  size_ = buffer_.size() - margin;
  buffer_.append(margin, terminator);
}

}  // namespace sage
