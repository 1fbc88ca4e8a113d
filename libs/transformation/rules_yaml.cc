#include "libs/transformation/rules_yaml.h"

#include <algorithm>
#include <charconv>

#include "libs/event/event_fields.h"
#include "libs/event/repair.h"
#include "libs/transformation/rules_values.h"

namespace millrace::transformation::rules {
namespace {

constexpr size_t kMaxCodeBytes = 256 << 10;
constexpr size_t kMaxJsonBytes = 64 << 10;
constexpr int kMaxJsonDepth = 32;

// Whether the text stood in quotes, so that "true" and "1" are texts.
bool IsQuoted(const YAML::Node& node) {
  return node.Tag() == "!";
}

}  // namespace

void YamlReader::Fault(const YAML::Node& node, std::string message, size_t offset) {
  const YAML::Mark mark = node.IsDefined() ? node.Mark() : YAML::Mark();
  CodeFault fault{.where = "transformation", .message = std::move(message)};
  if (mark.line >= 0) {
    fault.line = mark.line + 1;
    const auto at = static_cast<size_t>(mark.pos);
    const char first = at < yaml_.size() ? yaml_[at] : ' ';
    const bool block = first == '|' || first == '>';  // its lines are elsewhere
    fault.column = mark.column + 1 +
                   (block ? 0 : static_cast<int>(offset) + (IsQuoted(node) && offset > 0 ? 1 : 0));
  }
  faults_->push_back(std::move(fault));
}

YAML::Node YamlReader::Rules() {
  YAML::Node root;
  if (yaml_.size() > kMaxCodeBytes) {
    Fault(root, fmt::format("the rules are larger than {} bytes", kMaxCodeBytes));
    return root;
  }
  try {
    root = YAML::Load(yaml_);
  } catch (const YAML::Exception& error) {
    faults_->push_back({.where = "transformation",
                        .message = "this is no YAML: " + error.msg,
                        .line = error.mark.line + 1,
                        .column = error.mark.column + 1});
    return root;
  }
  YAML::Node rules = root;
  if (root.IsMap()) {
    if (!KnownKeys(root, {"rules"})) return root;
    rules.reset(root["rules"]);
  }
  if (!rules.IsDefined() || !rules.IsSequence() || rules.size() == 0) {
    faults_->push_back(
        {.where = "transformation",
         .message = "there are no rules; write a list, such as: rules: [{drop: event = Heartbeat}]",
         .line = 1,
         .column = 1});
  }
  return rules;
}

bool YamlReader::KnownKeys(const YAML::Node& map, std::initializer_list<std::string_view> keys) {
  for (const auto& entry : map) {
    const std::string key = Text(entry.first);
    if (std::ranges::find(keys, key) != keys.end()) continue;
    std::string known;
    for (const std::string_view one : keys) known.append(known.empty() ? "" : ", ").append(one);
    Fault(entry.first, fmt::format("\"{}\" is not known here; the keys are {}", key, known));
    return false;
  }
  return true;
}

YAML::Node YamlReader::Required(const YAML::Node& map, const char* key) {
  const YAML::Node value = map[key];
  if (!value) Fault(map, fmt::format("{} is missing", key));
  return value;
}

std::string YamlReader::Text(const YAML::Node& node) {
  // An escape such as "\ud800" gives bytes that are no UTF-8.
  if (node.IsDefined() && node.IsScalar()) return event::RepairUtf8(node.Scalar());
  Fault(node, "expected a text");
  return {};
}

std::optional<double> YamlReader::Number(const YAML::Node& node) {
  if (!node.IsScalar()) return std::nullopt;
  const std::string& text = node.Scalar();
  double value = 0;
  const auto [end, code] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (code != std::errc() || end != text.data() + text.size()) return std::nullopt;
  return value;
}

size_t YamlReader::Count(const YAML::Node& node) {
  if (!node) return 0;
  const auto value = Number(node);
  constexpr double kMost = 1'000;
  if (value && *value >= 0 && *value <= kMost &&
      *value == static_cast<double>(static_cast<int>(*value))) {
    return static_cast<size_t>(*value);
  }
  Fault(node, "expected a whole number from 0 to 1000");
  return 0;
}

bool YamlReader::Flag(const YAML::Node& node) {
  if (!node) return false;
  const std::string text = node.IsScalar() ? node.Scalar() : "";
  if (text != "true" && text != "false") Fault(node, "expected true or false");
  return text == "true";
}

std::vector<std::string> YamlReader::Texts(const YAML::Node& node) {
  if (!node.IsSequence()) return {Text(node)};
  std::vector<std::string> texts;
  for (const auto& one : node) texts.push_back(Text(one));
  if (texts.empty()) Fault(node, "the list is empty");
  return texts;
}

std::optional<Path> YamlReader::ReadPath(const YAML::Node& node) {
  if (!node.IsDefined() || !node.IsScalar()) {
    Fault(node, "expected a path such as context.traits.email");
    return std::nullopt;
  }
  auto path = ParsePath(Text(node));
  if (path.ok()) return *std::move(path);
  Fault(node, std::string(Message(path.status())));
  return std::nullopt;
}

std::vector<std::pair<Path, YAML::Node>> YamlReader::Paths(const YAML::Node& node) {
  std::vector<std::pair<Path, YAML::Node>> paths;
  if (!node.IsDefined()) return paths;  // Required has said so
  if (!node.IsSequence()) {
    if (auto path = ReadPath(node)) paths.emplace_back(*std::move(path), node);
    return paths;
  }
  for (const auto& one : node) {
    if (auto path = ReadPath(one)) paths.emplace_back(*std::move(path), one);
  }
  if (node.size() == 0) Fault(node, "the list of paths is empty");
  return paths;
}

std::vector<std::pair<YAML::Node, YAML::Node>> YamlReader::Pairs(const YAML::Node& node,
                                                                 const char* otherwise) {
  std::vector<std::pair<YAML::Node, YAML::Node>> pairs;
  if (!node.IsMap() || node.size() == 0) {
    Fault(node, otherwise);
    return pairs;
  }
  for (const auto& entry : node) pairs.emplace_back(entry.first, entry.second);
  return pairs;
}

bool YamlReader::Json(const YAML::Node& node, std::string* json) {
  if (AppendJson(node, 0, json)) return true;
  Fault(node, fmt::format("the value is larger than {} bytes or nested deeper than {}",
                          kMaxJsonBytes, kMaxJsonDepth));
  return false;
}

bool YamlReader::AppendJson(const YAML::Node& node, int depth, std::string* json) {
  if (depth > kMaxJsonDepth || json->size() > kMaxJsonBytes) return false;
  if (!node.IsDefined() || node.IsNull()) {
    *json += "null";
  } else if (node.IsScalar()) {
    const std::string text = Text(node);
    const bool plain = !IsQuoted(node);
    const bool number = plain && IsNumberValue(text) &&
                        CastValue(event::QuoteJson(text), CastType::kNumber) == text;
    *json +=
        number || (plain && (text == "true" || text == "false")) ? text : event::QuoteJson(text);
  } else {
    const bool map = node.IsMap();
    *json += map ? '{' : '[';
    bool first = true;
    for (const auto& entry : node) {
      if (!first) *json += ',';
      first = false;
      if (map) *json += event::QuoteJson(Text(entry.first)) + ':';
      if (!AppendJson(map ? entry.second : entry, depth + 1, json)) return false;
    }
    *json += map ? '}' : ']';
  }
  return json->size() <= kMaxJsonBytes;
}

}  // namespace millrace::transformation::rules
