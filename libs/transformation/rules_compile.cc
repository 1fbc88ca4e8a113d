#include "libs/transformation/rules_compile.h"

#include <yaml-cpp/yaml.h>

#include <algorithm>
#include <map>

#include "libs/event/event_fields.h"
#include "libs/transformation/rules_compiler.h"

namespace millrace::transformation::rules {
namespace {

constexpr size_t kMaxRules = 500;
constexpr size_t kMaxPaths = 2'000;

constexpr const char* kActions =
    "drop, keep_events, sample, rename, rename_event, keep, remove, remove_null, set, cast, hash, "
    "mask, replace or lowercase";

}  // namespace

const std::map<std::string, Compiler::Action>& Compiler::Actions() {
  static const std::map<std::string, Action> actions = {{"drop", &Compiler::Drop},
                                                        {"keep_events", &Compiler::KeepEvents},
                                                        {"sample", &Compiler::Sample},
                                                        {"rename", &Compiler::Rename},
                                                        {"rename_event", &Compiler::RenameEvent},
                                                        {"keep", &Compiler::Keep},
                                                        {"remove", &Compiler::Remove},
                                                        {"remove_null", &Compiler::RemoveNull},
                                                        {"set", &Compiler::Set},
                                                        {"cast", &Compiler::Cast},
                                                        {"hash", &Compiler::Hash},
                                                        {"mask", &Compiler::Mask},
                                                        {"replace", &Compiler::Replace},
                                                        {"lowercase", &Compiler::Lowercase}};
  return actions;
}

void Compiler::AddRule(const YAML::Node& node) {
  if (!node.IsMap()) {
    return reader_.Fault(node, fmt::format("a rule is a map with one action: {}", kActions));
  }
  rule_ = {};
  otherwise_.reset(YAML::Node(YAML::NodeType::Undefined));
  YAML::Node value;
  Action action = nullptr;
  for (const auto& entry : node) {
    const std::string key = reader_.Text(entry.first);
    const auto known = Actions().find(key);
    if (key == "when") {
      rule_.when = ReadCondition(entry.second);
    } else if (key == "otherwise") {
      otherwise_.reset(entry.second);
    } else if (key == "name") {
      continue;
    } else if (known == Actions().end()) {
      reader_.Fault(
          entry.first,
          fmt::format("\"{}\" is no action; a rule has one of {}, and may have when and name", key,
                      kActions));
      return;
    } else if (action != nullptr) {
      reader_.Fault(
          entry.first,
          fmt::format("a second action, {}, in one rule; begin another rule with \"- {}:\"", key,
                      key));
      return;
    } else {
      action = known->second;
      value.reset(entry.second);
    }
  }
  if (action == nullptr) {
    return reader_.Fault(node, fmt::format("a rule without an action; it has one of {}", kActions));
  }
  (this->*action)(value);
  if (otherwise_.IsDefined() && action != &Compiler::Cast) {
    reader_.Fault(otherwise_, "otherwise belongs to cast only");
  }
  program_->Add(std::move(rule_));
}

std::optional<Condition> Compiler::ReadCondition(const YAML::Node& node) {
  if (!node.IsScalar()) {
    reader_.Fault(node, "a condition is a text, such as: type = track and properties.total > 10");
    return std::nullopt;
  }
  size_t place = 0;
  auto condition = Condition::Parse(reader_.Text(node), &program_->tree(), &place);
  if (condition.ok()) return *std::move(condition);
  reader_.Fault(node, std::string(Message(condition.status())), place);
  return std::nullopt;
}

void Compiler::AddDrop(std::string_view text, bool unless) {
  size_t place = 0;
  auto condition = Condition::Parse(text, &program_->tree(), &place);
  MR_CHECK(condition.ok());  // of our own making
  const std::vector<Path> reads = condition->paths();
  Emit({.what = DropOp{*std::move(condition), unless}, .reads = reads});
}

void Compiler::Drop(const YAML::Node& node) {
  if (node.IsScalar() && node.Scalar() == "true") {
    if (!rule_.when) {
      return reader_.Fault(
          node, "drop: true drops every event; give the rule a when, or drop a condition");
    }
    return Emit({.what = DropOp{}});
  }
  auto condition = ReadCondition(node);
  if (!condition) return;
  const std::vector<Path> reads = condition->paths();
  Emit({.what = DropOp{std::move(condition), false}, .reads = reads});
}

void Compiler::KeepEvents(const YAML::Node& node) {
  const bool is_map = node.IsMap();
  if (is_map && !reader_.KnownKeys(node, {"types", "names"})) return;
  const auto list = [&](const YAML::Node& values) {
    std::string text;
    for (const std::string& value : reader_.Texts(values)) {
      text.append(text.empty() ? "[" : ", ").append(event::QuoteJson(value));
    }
    return text + "]";
  };
  const YAML::Node types = is_map ? node["types"] : YAML::Node(YAML::NodeType::Undefined);
  const YAML::Node names = is_map ? node["names"] : node;
  if (!types && !names) return reader_.Fault(node, "keep_events needs types, names or both");
  if (types) AddDrop("type in " + list(types), /*unless=*/true);
  if (names) AddDrop("type = track and event not in " + list(names), /*unless=*/false);
}

void Compiler::Sample(const YAML::Node& node) {
  if (node.IsMap() && !reader_.KnownKeys(node, {"percent", "by"})) return;
  const YAML::Node percent = node.IsMap() ? node["percent"] : node;
  const YAML::Node by = node.IsMap() ? node["by"] : YAML::Node(YAML::NodeType::Undefined);
  if (!percent) return reader_.Fault(node, "sample needs percent");
  const auto share = reader_.Number(percent);
  if (!share || *share < 0 || *share > 100) {
    return reader_.Fault(percent, "percent is a number from 0 to 100");
  }
  const std::string unit = by ? reader_.Text(by) : "user";
  if (unit != "user" && unit != "message") return reader_.Fault(by, "by is user or message");
  Op op;
  SampleOp sample{.share = *share / 100};
  for (const char* id : {"userId", "anonymousId", "messageId"}) {
    if (unit == "message" && id != std::string_view("messageId")) continue;
    const Path path{{{id}}};
    sample.ids.push_back(NodeOf(path));
    op.reads.push_back(path);
  }
  op.what = std::move(sample);
  Emit(std::move(op));
}

bool Compiler::MakeTarget(const Path& path, const YAML::Node& where, Target* target) {
  if (path.HasWildcard()) {
    reader_.Fault(where, "* cannot stand here: the place must be one");
    return false;
  }
  target->path = path;
  target->nodes = {0};
  Path prefix;
  for (const Path::Part& part : path.parts) {
    prefix.parts.push_back(part);
    target->nodes.push_back(NodeOf(prefix));
  }
  return true;
}

void Compiler::Rename(const YAML::Node& node) {
  for (const auto& [key, value] : reader_.Pairs(node, "rename is a map of paths, old: new")) {
    const auto from = reader_.ReadPath(key);
    const auto to = reader_.ReadPath(value);
    if (!from || !to) continue;
    RenameOp op{.from = NodeOf(*from), .to = NodeOf(*to)};
    const auto parent = [](Path path) {
      path.parts.pop_back();
      return path;
    };
    if (from->parts.back().any || to->parts.back().any) {
      reader_.Fault(key, "the last part of what is renamed is a name, not *");
      continue;
    }
    if (*from == *to) continue;
    if (parent(*from) == parent(*to)) {
      op.key = event::QuoteJson(to->parts.back().name);
    } else if (Overlap(*from, *to)) {
      reader_.Fault(key, "a value cannot be moved into itself, or into the place of what it is in");
      continue;
    } else if (from->HasWildcard()) {
      reader_.Fault(key, "with * only the last part of the path may change");
      continue;
    } else if (!MakeTarget(*to, value, &op.target)) {
      continue;
    }
    Emit({.what = std::move(op), .reads = {}, .writes = {*from, *to}});
  }
}

void Compiler::RenameEvent(const YAML::Node& node) {
  auto names = std::make_shared<std::map<std::string, std::string, std::less<>>>();
  for (const auto& [key, value] :
       reader_.Pairs(node, "rename_event is a map of event names, old: new")) {
    (*names)[reader_.Text(key)] = event::QuoteJson(reader_.Text(value));
  }
  const Path path{{{"event"}}};
  const auto make = [names](std::string_view raw) -> NewValue {
    if (!IsTextValue(raw)) return std::nullopt;
    const auto found = names->find(event::DecodeText(raw));
    if (found == names->end()) return std::nullopt;
    return found->second;
  };
  Emit({.what = ValueOp{NodeOf(path), make}, .writes = {path}});
}

void Compiler::Keep(const YAML::Node& node) {
  std::vector<Path> kept;
  for (const auto& [path, where] : reader_.Paths(node)) {
    if (path.parts.size() < 2) {
      reader_.Fault(where, "keep works inside an object, e.g. properties.total");
      continue;
    }
    kept.push_back(path);
  }
  std::vector<Path> objects;
  for (const Path& path : kept) {
    Path object = path;
    object.parts.pop_back();
    if (std::ranges::find(objects, object) == objects.end()) objects.push_back(std::move(object));
  }
  for (const Path& object : objects) {
    KeepOp op{.object = NodeOf(object)};
    const size_t depth = object.parts.size();
    bool all = false;
    for (const Path& path : kept) {  // also what is deeper in it
      if (path.parts.size() <= depth ||
          !std::equal(object.parts.begin(), object.parts.end(), path.parts.begin())) {
        continue;
      }
      all = all || path.parts[depth].any;
      op.names.push_back(path.parts[depth].name);
    }
    if (!all) Emit({.what = std::move(op), .writes = {object}});
  }
}

void Compiler::Remove(const YAML::Node& node) {
  for (const auto& [path, where] : reader_.Paths(node)) {
    Emit({.what = RemoveOp{NodeOf(path)}, .writes = {path}});
  }
}

void Compiler::RemoveNull(const YAML::Node& node) {
  for (const auto& [path, where] : reader_.Paths(node)) {
    Emit({.what = KeepOp{.object = NodeOf(path), .not_null = true}, .writes = {path}});
  }
}

void Compiler::Set(const YAML::Node& node) {
  for (const auto& [key, value] : reader_.Pairs(node, "set is a map, path: value")) {
    const auto path = reader_.ReadPath(key);
    SetOp op;
    if (!path || !MakeTarget(*path, key, &op.target) || !reader_.Json(value, &op.value)) continue;
    Emit({.what = std::move(op), .writes = {*path}});
  }
}

std::unique_ptr<const Program> CompileRules(const std::string& yaml,
                                            const config::v1::Workspace& workspace,
                                            std::vector<CodeFault>* faults) {
  Compiler compiler(yaml, workspace, faults);
  const YAML::Node rules = compiler.reader().Rules();
  if (!faults->empty()) return nullptr;
  if (rules.size() > kMaxRules) {
    compiler.reader().Fault(rules, fmt::format("more than {} rules", kMaxRules));
    return nullptr;
  }
  try {
    for (const auto& rule : rules) compiler.AddRule(rule);
  } catch (const YAML::Exception& error) {
    faults->push_back({.where = "transformation",
                       .message = error.msg,
                       .line = error.mark.line + 1,
                       .column = error.mark.column + 1});
  }
  auto program = compiler.Take();
  if (program->tree().size() > kMaxPaths) {
    compiler.reader().Fault(rules, fmt::format("more than {} paths", kMaxPaths));
  }
  if (!faults->empty()) return nullptr;
  program->Finish();
  return program;
}

}  // namespace millrace::transformation::rules
