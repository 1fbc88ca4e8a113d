#pragma once

#include <yaml-cpp/yaml.h>

#include <initializer_list>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "libs/transformation/rules_path.h"
#include "libs/transformation/transformer.h"

namespace millrace::transformation::rules {

/// Reads the pieces of rules out of YAML; what is wrong with one goes into the faults with its
/// place. One thread.
class YamlReader {
 public:
  YamlReader(const std::string& yaml, std::vector<CodeFault>* faults)
      : yaml_(yaml), faults_(faults) {}

  /// The list of rules: the whole document, or its member `rules`.
  YAML::Node Rules();

  /// `offset`: bytes into the node's text, where that can be said.
  void Fault(const YAML::Node& node, std::string message, size_t offset = 0);
  /// False, and a fault, when the map has another key.
  bool KnownKeys(const YAML::Node& map, std::initializer_list<std::string_view> keys);
  /// The member, or a fault and no node.
  YAML::Node Required(const YAML::Node& map, const char* key);

  std::string Text(const YAML::Node& node);
  std::optional<double> Number(const YAML::Node& node);
  size_t Count(const YAML::Node& node);  // 0 when there is none
  bool Flag(const YAML::Node& node);     // false when there is none
  /// One text, or a list of them.
  std::vector<std::string> Texts(const YAML::Node& node);
  std::optional<Path> ReadPath(const YAML::Node& node);
  /// One path, or a list of them, each with where it stands.
  std::vector<std::pair<Path, YAML::Node>> Paths(const YAML::Node& node);
  std::vector<std::pair<YAML::Node, YAML::Node>> Pairs(const YAML::Node& node,
                                                       const char* otherwise);
  bool Json(const YAML::Node& node, std::string* json);

 private:
  bool AppendJson(const YAML::Node& node, int depth, std::string* json);

  const std::string& yaml_;
  std::vector<CodeFault>* faults_;
};

}  // namespace millrace::transformation::rules
