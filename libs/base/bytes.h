#pragma once

#include <memory>
#include <string>
#include <string_view>
#include <utility>

namespace millrace {

/// An immutable, reference-counted slice of bytes. Copies and slices share the owner, which lives
/// as long as any of them. Safe to read from any thread.
class Bytes {
 public:
  Bytes() = default;
  /// Takes over `text`.
  explicit Bytes(std::string text) {
    auto owned = std::make_shared<const std::string>(std::move(text));
    view_ = *owned;
    owner_ = std::move(owned);
  }
  /// A slice of something `owner` keeps alive.
  Bytes(std::shared_ptr<const void> owner, std::string_view view)
      : owner_(std::move(owner)), view_(view) {}

  std::string_view view() const { return view_; }
  size_t size() const { return view_.size(); }
  bool empty() const { return view_.empty(); }
  /// `part` must lie within view().
  Bytes Slice(std::string_view part) const { return Bytes(owner_, part); }
  const std::shared_ptr<const void>& owner() const { return owner_; }

 private:
  std::shared_ptr<const void> owner_;
  std::string_view view_;
};

}  // namespace millrace
