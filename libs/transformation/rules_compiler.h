#pragma once

#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "libs/transformation/rules_program.h"
#include "libs/transformation/rules_yaml.h"

namespace millrace::transformation::rules {

/// Compiles one rule after another; what is wrong goes into the faults, and the next rule is tried.
class Compiler {
 public:
  Compiler(const std::string& yaml, const config::v1::Workspace& workspace,
           std::vector<CodeFault>* faults)
      : reader_(yaml, faults), workspace_(workspace), program_(std::make_unique<Program>()) {}

  void AddRule(const YAML::Node& node);
  std::unique_ptr<Program> Take() { return std::move(program_); }
  YamlReader& reader() { return reader_; }

 private:
  using Action = void (Compiler::*)(const YAML::Node& node);
  static const std::map<std::string, Action>& Actions();

  void Drop(const YAML::Node& node);
  void KeepEvents(const YAML::Node& node);
  void Sample(const YAML::Node& node);
  void Rename(const YAML::Node& node);
  void RenameEvent(const YAML::Node& node);
  void Keep(const YAML::Node& node);
  void Remove(const YAML::Node& node);
  void RemoveNull(const YAML::Node& node);
  void Set(const YAML::Node& node);
  void Cast(const YAML::Node& node);
  void Hash(const YAML::Node& node);
  void Mask(const YAML::Node& node);
  void Replace(const YAML::Node& node);
  void Lowercase(const YAML::Node& node);

  std::optional<Condition> ReadCondition(const YAML::Node& node);
  void AddDrop(std::string_view condition, bool unless);
  void AddValues(const YAML::Node& paths, std::function<NewValue(std::string_view)> make,
                 ValueOp::Otherwise otherwise = ValueOp::Otherwise::kKeep);
  bool MakeTarget(const Path& path, const YAML::Node& where, Target* target);
  int NodeOf(const Path& path) { return program_->tree().Add(path); }
  void Emit(Op op) { rule_.ops.push_back(std::move(op)); }

  YamlReader reader_;
  const config::v1::Workspace& workspace_;
  std::unique_ptr<Program> program_;
  Rule rule_;
  YAML::Node otherwise_;  // of cast
};

}  // namespace millrace::transformation::rules
