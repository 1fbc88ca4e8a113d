#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace millrace::secrets {

/// Writes *** over secrets in what is shown: messages, logs, requests that are kept.
///
/// A secret that may be part of ordinary text (fewer than six bytes, or fewer than twelve and only
/// letters) stays where it is a part of a word, else "x" would turn "exists" into "e***ists". It is
/// masked as a whole value: alone, in quotes, behind '=' or ':'.
///
/// Immutable; any thread.
class Mask {
 public:
  Mask() = default;
  explicit Mask(const std::vector<std::string>& secrets);

  /// `text` without the secrets, also where they are written as in JSON or in a URL. From four
  /// bytes on a secret is masked as a whole word too: for what tools and users' code say.
  std::string Apply(std::string text) const;

  /// For the messages of a server in plain language, in which words such as "password" are
  /// ordinary: whole values only.
  std::string ApplyToMessage(std::string text) const;

  bool empty() const { return forms_.empty(); }

 private:
  struct Form {
    std::string text;
    bool ordinary = false;
  };
  std::string Replace(std::string text, bool words) const;

  std::vector<Form> forms_;  // the longest first
};

}  // namespace millrace::secrets
