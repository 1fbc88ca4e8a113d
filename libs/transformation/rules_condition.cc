#include "libs/transformation/rules_condition.h"

#include <algorithm>
#include <cstdlib>

#include "libs/event/event_fields.h"
#include "libs/event/scan.h"
#include "libs/transformation/rules_values.h"

namespace millrace::transformation::rules {
namespace {

// The text of a raw string; `buffer` holds it when there are escapes to resolve.
std::string_view TextOf(std::string_view raw, std::string* buffer) {
  const std::string_view inner = raw.substr(1, raw.size() - 2);
  if (inner.find('\\') == std::string_view::npos) return inner;
  *buffer = event::DecodeText(raw);
  return *buffer;
}

double NumberOf(std::string_view raw) {
  // The byte after a number in a document is never part of it, but a view has no end that strtod
  // sees.
  char text[64];
  if (raw.size() >= sizeof text) return std::strtod(std::string(raw).c_str(), nullptr);
  raw.copy(text, raw.size());
  text[raw.size()] = '\0';
  return std::strtod(text, nullptr);
}

}  // namespace

bool Condition::Is(std::string_view raw, const Literal& literal) {
  switch (literal.type) {
    case Literal::Type::kText: {
      std::string buffer;
      return IsTextValue(raw) && TextOf(raw, &buffer) == literal.text;
    }
    case Literal::Type::kNumber:
      return IsNumberValue(raw) && NumberOf(raw) == literal.number;
    case Literal::Type::kOther:
      return raw == literal.text;
  }
  return false;
}

bool Condition::Holds(const Document& document, const Node& node) const {
  const auto child = [this](int index) -> const Node& {
    return nodes_[static_cast<size_t>(index)];
  };
  switch (node.kind) {
    case Kind::kAnd:
      return Holds(document, child(node.left)) && Holds(document, child(node.right));
    case Kind::kOr:
      return Holds(document, child(node.left)) || Holds(document, child(node.right));
    case Kind::kNot:
      return !Holds(document, child(node.left));
    default:
      break;
  }
  const Match* match = document.First(node.path);
  if (match == nullptr) {  // what is not there is null
    return node.kind == Kind::kIs && HoldsFor("null", node);
  }
  for (; match != nullptr; match = document.Next(match)) {
    if (HoldsFor(document.Value(*match), node)) return true;
  }
  return false;
}

bool Condition::HoldsFor(std::string_view raw, const Node& node) {
  if (node.kind == Kind::kExists) return raw != "null";
  if (node.kind == Kind::kIs) {
    return std::ranges::any_of(node.literals, [&](const Literal& one) { return Is(raw, one); });
  }
  const Literal* const literal = node.literals.empty() ? nullptr : &node.literals.front();
  if (node.kind == Kind::kContains && raw.front() == '[') {
    const char* const end = raw.data() + raw.size();
    event::scan::Elements elements(raw.data(), end);
    const char* at = nullptr;
    while (elements.Next(&at)) {
      const char* const after = event::scan::SkipValue(at, end);
      if (after == nullptr) return false;
      if (Is({at, static_cast<size_t>(after - at)}, *literal)) return true;
      elements.Advance(after);
    }
    return false;
  }
  if (node.kind == Kind::kCompare && literal->type == Literal::Type::kNumber) {
    if (!IsNumberValue(raw)) return false;
    const double value = NumberOf(raw);
    switch (node.order) {
      case Order::kLess:
        return value < literal->number;
      case Order::kLessEqual:
        return value <= literal->number;
      case Order::kGreater:
        return value > literal->number;
      case Order::kGreaterEqual:
        return value >= literal->number;
    }
  }
  if (!IsTextValue(raw)) return false;
  std::string buffer;
  const std::string_view text = TextOf(raw, &buffer);
  switch (node.kind) {
    case Kind::kMatches:
      return RE2::PartialMatch(re2::StringPiece(text.data(), text.size()), *node.pattern);
    case Kind::kContains:
      return literal->type == Literal::Type::kText &&
             text.find(literal->text) != std::string_view::npos;
    case Kind::kStarts:
      return text.starts_with(literal->text);
    case Kind::kEnds:
      return text.ends_with(literal->text);
    default:
      break;
  }
  const int order = text.compare(literal->text);
  switch (node.order) {
    case Order::kLess:
      return order < 0;
    case Order::kLessEqual:
      return order <= 0;
    case Order::kGreater:
      return order > 0;
    case Order::kGreaterEqual:
      return order >= 0;
  }
  return false;
}

}  // namespace millrace::transformation::rules
