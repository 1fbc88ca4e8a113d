#include <algorithm>
#include <map>
#include <utility>

#include "libs/transformation/rules_compiler.h"

/// The actions that make one value of another.
namespace millrace::transformation::rules {

void Compiler::Cast(const YAML::Node& node) {
  static const std::map<std::string, CastType> types = {{"string", CastType::kString},
                                                        {"number", CastType::kNumber},
                                                        {"integer", CastType::kInteger},
                                                        {"boolean", CastType::kBoolean},
                                                        {"timestamp", CastType::kTimestamp}};
  static const std::map<std::string, ValueOp::Otherwise> others = {
      {"keep", ValueOp::Otherwise::kKeep},
      {"remove", ValueOp::Otherwise::kRemove},
      {"null", ValueOp::Otherwise::kNull}};
  ValueOp::Otherwise otherwise = ValueOp::Otherwise::kKeep;
  if (otherwise_.IsDefined()) {
    const auto found = others.find(otherwise_.IsNull() ? "null" : reader_.Text(otherwise_));
    if (found == others.end())
      return reader_.Fault(otherwise_, "otherwise is keep, remove or null");
    otherwise = found->second;
  }
  for (const auto& [key, value] : reader_.Pairs(node, "cast is a map, path: type")) {
    const auto type = types.find(reader_.Text(value));
    if (type == types.end()) {
      reader_.Fault(value, "a type is string, number, integer, boolean or timestamp");
      continue;
    }
    AddValues(
        key, [to = type->second](std::string_view raw) { return CastValue(raw, to); }, otherwise);
  }
}

void Compiler::AddValues(const YAML::Node& paths, std::function<NewValue(std::string_view)> make,
                         ValueOp::Otherwise otherwise) {
  for (const auto& [path, where] : reader_.Paths(paths)) {
    Emit({.what = ValueOp{NodeOf(path), make, otherwise}, .writes = {path}});
  }
}

void Compiler::Hash(const YAML::Node& node) {
  Hashing hashing;
  if (!node.IsMap())
    return AddValues(node, [hashing](std::string_view raw) { return HashValue(raw, hashing); });
  if (!reader_.KnownKeys(node, {"fields", "algorithm", "salt", "salt_credential", "normalize"}))
    return;
  if (const YAML::Node algorithm = node["algorithm"]) {
    const std::string name = reader_.Text(algorithm);
    if (name != "sha256" && name != "md5")
      return reader_.Fault(algorithm, "algorithm is sha256 or md5");
    hashing.md5 = name == "md5";
  }
  if (const YAML::Node salt = node["salt"]) hashing.salt = reader_.Text(salt);
  if (const YAML::Node salt = node["salt_credential"]) {
    const std::string key = reader_.Text(salt);
    const auto& credentials = workspace_.credentials();
    const auto found =
        std::ranges::find_if(credentials, [&](const auto& one) { return one.key() == key; });
    if (found == credentials.end()) {
      return reader_.Fault(
          salt, fmt::format("the workspace has no credential \"{}\"; make it first", key));
    }
    hashing.salt += found->value();
  }
  hashing.normalize = reader_.Flag(node["normalize"]);
  AddValues(reader_.Required(node, "fields"),
            [hashing](std::string_view raw) { return HashValue(raw, hashing); });
}

void Compiler::Mask(const YAML::Node& node) {
  Masking masking;
  if (node.IsMap()) {
    if (!reader_.KnownKeys(node, {"fields", "keep_first", "keep_last", "email"})) return;
    masking.keep_first = reader_.Count(node["keep_first"]);
    masking.keep_last = reader_.Count(node["keep_last"]);
    masking.email = reader_.Flag(node["email"]);
  }
  AddValues(node.IsMap() ? reader_.Required(node, "fields") : node,
            [masking](std::string_view raw) { return MaskValue(raw, masking); });
}

void Compiler::Replace(const YAML::Node& node) {
  if (!node.IsMap()) return reader_.Fault(node, "replace is a map with fields, pattern and with");
  if (!reader_.KnownKeys(node, {"fields", "pattern", "with"})) return;
  const YAML::Node pattern = reader_.Required(node, "pattern");
  if (!pattern) return;
  RE2::Options options;
  options.set_log_errors(false);
  Replacing replacing{.pattern = std::make_shared<const RE2>(reader_.Text(pattern), options)};
  if (!replacing.pattern->ok()) {
    return reader_.Fault(pattern, fmt::format("this is no regular expression (RE2): {}",
                                              replacing.pattern->error()));
  }
  if (const YAML::Node with = node["with"]) {
    replacing.with = reader_.Text(with);
    std::string error;
    if (!replacing.pattern->CheckRewriteString(replacing.with, &error)) {
      return reader_.Fault(with, "with does not fit the pattern: " + error);
    }
  }
  AddValues(reader_.Required(node, "fields"),
            [replacing](std::string_view raw) { return ReplaceText(raw, replacing); });
}

void Compiler::Lowercase(const YAML::Node& node) {
  AddValues(node, LowercaseText);
}

}  // namespace millrace::transformation::rules
