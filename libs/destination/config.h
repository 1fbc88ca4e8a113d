#pragma once

#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "libs/base/status.h"
#include "millrace/destination/v1/definition.pb.h"

namespace millrace::destination {

/// The configuration of one destination as the definition of its type reads it: only fields of the
/// definition, each of its kind, with the defaults filled in. Mappings, dialects and services get
/// this and no other form, so that "true" and true mean the same everywhere.
///
/// An immutable value; any thread. What is not set and has no default, or is not of the reader's
/// kind, reads as "", nothing, false or no items.
class Config {
 public:
  std::string Text(std::string_view field) const;
  std::optional<double> Number(std::string_view field) const;
  bool Flag(std::string_view field) const;
  std::vector<std::string> List(std::string_view field) const;

  /// The whole as a JSON object, in the definition's order: what a mapping gets. A number is a JSON
  /// number, a key-value list [{"from": text, "to": text}], a list of texts a list of texts.
  const std::string& json() const;
  /// Every text that a secret field holds; of a key-value list those at "to".
  const std::vector<std::string>& secrets() const;

 private:
  friend StatusOr<Config> NormaliseConfig(const v1::Definition& definition,
                                          std::string_view config_json);
  struct Values;
  explicit Config(std::shared_ptr<const Values> values) : values_(std::move(values)) {}
  std::shared_ptr<const Values> values_;
};

/// Reads `config_json`, as a user or an import gave it, by `definition`. Numbers and booleans may
/// be text, as RudderStack's forms send them; empty text and null are the same as absent. Keys that
/// the definition does not know are left out. kInvalidArgument says which key is missing or wrong
/// and how to mend it.
StatusOr<Config> NormaliseConfig(const v1::Definition& definition, std::string_view config_json);

/// Whether `field`'s default_json is one value of its kind; kInvalidArgument says what it should
/// be.
Status CheckDefault(const v1::Field& field);

/// `config_json`, as it was given, with the values of secret fields replaced: for logs and answers.
/// "{}" when it is no JSON object.
std::string MaskSecrets(const v1::Definition& definition, std::string_view config_json);

}  // namespace millrace::destination
