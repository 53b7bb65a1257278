// The byte stream that a conversation is hashed and counted as: unambiguous, and append-only under new text.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

namespace sage {

// Every segment's bytes, 0xFE written as FE 00 and 0xFF as FE 01, then the terminator 0xFF. Neither byte occurs in
// UTF-8, so text is copied as it is.
class CanonicalStream {
 public:
  // Bytes before the text that a reader may look back at, and after it that it may read past the end: terminators,
  // which no feature counts.
  static constexpr std::size_t margin = 64;

  CanonicalStream();

  // Appends a segment that is known to be UTF-8.
  void append_text(std::string_view utf8);
  // Appends a segment of any bytes.
  void append_bytes(std::string_view bytes);
  // Makes the margin after the text. Call once, after the last segment.
  void close();

  const std::uint8_t* data() const noexcept { return reinterpret_cast<const std::uint8_t*>(buffer_.data()) + margin; }
  std::size_t size() const noexcept { return size_; }
  std::size_t segment_count() const noexcept { return segment_count_; }

 private:
  std::string buffer_;
  std::size_t size_ = 0;
  std::size_t segment_count_ = 0;
};

}  // namespace sage
