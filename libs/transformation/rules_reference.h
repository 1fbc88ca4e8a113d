#pragma once

#include <nlohmann/json.hpp>

#include <algorithm>
#include <functional>
#include <memory>
#include <random>
#include <string>
#include <utility>
#include <vector>

#include "libs/transformation/rules_path.h"
#include "libs/transformation/rules_values.h"

/// For the fuzz test: random rules as YAML, each with a slow implementation of the same on a
/// document tree.
namespace millrace::transformation::reference {

using Json = nlohmann::json;
using rules::NewValue;
using rules::Path;

class Random {
 public:
  explicit Random(uint64_t seed) : engine_(seed) {}
  size_t Below(size_t limit) { return engine_() % limit; }
  bool Once(size_t in) { return Below(in) == 0; }
  template <typename T>
  const T& Of(const std::vector<T>& values) {
    return values[Below(values.size())];
  }

 private:
  std::mt19937_64 engine_;
};

/// The slow implementation's view of a place.
struct Place {
  Json* parent = nullptr;
  std::string key;
  size_t index = 0;
  Json* value = nullptr;
};

inline bool IsIndex(const std::string& name, size_t* index) {
  if (name.empty() || !std::ranges::all_of(name, [](char c) { return c >= '0' && c <= '9'; }))
    return false;
  *index = std::stoul(name);
  return true;
}

inline std::vector<Place> Find(Json* root, const Path& path) {
  std::vector<Place> places{{.value = root}};
  for (const Path::Part& part : path.parts) {
    std::vector<Place> next;
    for (const Place& place : places) {
      Json& here = *place.value;
      size_t index = 0;
      if (here.is_object()) {
        for (auto& [key, value] : here.items()) {
          if (part.any || key == part.name)
            next.push_back({.parent = &here, .key = key, .value = &value});
        }
      } else if (here.is_array()) {
        for (size_t i = 0; i < here.size(); ++i) {
          if (part.any || (IsIndex(part.name, &index) && index == i)) {
            next.push_back({.parent = &here, .index = i, .value = &here[i]});
          }
        }
      }
    }
    places = std::move(next);
  }
  return places;
}

inline void Erase(std::vector<Place> places) {
  std::ranges::reverse(places);  // elements of arrays from the back
  for (const Place& place : places) {
    if (place.parent->is_array())
      place.parent->erase(place.index);
    else
      place.parent->erase(place.key);
  }
}

inline bool Store(Json* root, const Path& path, const Json& value) {
  if (const auto places = Find(root, path); !places.empty()) {
    *places[0].value = value;
    return true;
  }
  Json copy = *root;
  Json* at = &copy;
  for (const Path::Part& part : path.parts) {
    size_t index = 0;
    if (at->is_null()) *at = Json::object();
    if (at->is_array() && IsIndex(part.name, &index) && index < at->size()) {
      at = &(*at)[index];
    } else if (at->is_object()) {
      at = &(*at)[part.name];
    } else {
      return false;
    }
  }
  *at = value;
  *root = std::move(copy);
  return true;
}

inline Path ToPath(const std::string& text) {
  return *rules::ParsePath(text);
}

/// A rule as YAML, and what it does. False: dropped.
struct Made {
  std::string yaml;
  std::function<bool(Json*)> run;
};
struct MadeCondition {
  std::string text;
  std::function<bool(Json*)> holds;
};

class Maker {
 public:
  Maker(Random* random, bool wildcards) : random_(*random), wildcards_(wildcards) {}

  std::string AnyPath(bool may_wild = true, size_t longest = 3) {
    std::string path = random_.Of(tops_);
    for (size_t parts = random_.Below(longest); parts > 0; --parts) {
      const bool wild = may_wild && wildcards_ && random_.Once(4);
      path += "." + (wild ? "*" : random_.Of(names_));
    }
    return path;
  }

  MadeCondition Condition(int depth = 0) {
    if (depth < 3 && random_.Once(3)) {
      const auto a = Condition(depth + 1);
      const auto b = Condition(depth + 1);
      switch (random_.Below(3)) {
        case 0:
          return {"(" + a.text + " and " + b.text + ")",
                  [a, b](Json* e) { return a.holds(e) && b.holds(e); }};
        case 1:
          return {"(" + a.text + " or " + b.text + ")",
                  [a, b](Json* e) { return a.holds(e) || b.holds(e); }};
        default:
          return {"not " + a.text, [a](Json* e) { return !a.holds(e); }};
      }
    }
    return Comparison();
  }

  Made Rule() {
    Made made = Action();
    if (!random_.Once(3)) return made;
    const auto when = Condition();
    const auto run = made.run;
    made.yaml += "\n  when: " + when.text;
    made.run = [when, run](Json* event) { return !when.holds(event) || run(event); };
    return made;
  }

 private:
  MadeCondition On(const std::string& path, const std::string& rest,
                   std::function<bool(const Json&)> one) {
    return {path + " " + rest, [parsed = ToPath(path), one](Json* event) {
              return std::ranges::any_of(Find(event, parsed),
                                         [&](const Place& place) { return one(*place.value); });
            }};
  }
  MadeCondition Comparison() {
    const std::string path = AnyPath();
    const std::string text = random_.Of(texts_);
    const std::string quoted = "'" + text + "'";
    const double number = static_cast<double>(random_.Below(8)) / 2;
    const std::string digits = Json(number).dump();
    switch (random_.Below(11)) {
      case 0:
        return On(path, "= " + quoted, [text](const Json& v) { return v == Json(text); });
      case 1: {
        auto equal = On(path, "!= " + quoted, [text](const Json& v) { return v == Json(text); });
        return {equal.text, [equal](Json* event) { return !equal.holds(event); }};
      }
      case 2:
        return On(path, "= " + digits,
                  [number](const Json& v) { return v.is_number() && v == Json(number); });
      case 3:
        return On(path, "< " + digits,
                  [number](const Json& v) { return v.is_number() && v < Json(number); });
      case 4:
        return On(path, ">= " + quoted,
                  [text](const Json& v) { return v.is_string() && v.get<std::string>() >= text; });
      case 5:
        return On(path, "in [" + quoted + ", " + digits + ", true]", [text, number](const Json& v) {
          return v == Json(text) || (v.is_number() && v == Json(number)) || v == Json(true);
        });
      case 6:
        return On(path, "contains " + quoted, [text](const Json& v) {
          if (v.is_array()) return std::ranges::find(v, Json(text)) != v.end();
          return v.is_string() && v.get<std::string>().find(text) != std::string::npos;
        });
      case 7:
        return On(path, "starts_with " + quoted, [text](const Json& v) {
          return v.is_string() && v.get<std::string>().starts_with(text);
        });
      case 8:
        return On(path, "matches '^[a-m]+$'", [](const Json& v) {
          return v.is_string() && !v.get<std::string>().empty() &&
                 std::ranges::all_of(v.get<std::string>(),
                                     [](char c) { return c >= 'a' && c <= 'm'; });
        });
      case 9:
        return On(path, "exists", [](const Json& v) { return !v.is_null(); });
      default:
        return {path + " = null", [parsed = ToPath(path)](Json* event) {
                  const auto places = Find(event, parsed);
                  return places.empty() || std::ranges::any_of(places, [](const Place& p) {
                           return p.value->is_null();
                         });
                }};
    }
  }

  Made Values(const std::string& yaml, const std::string& path,
              std::function<NewValue(std::string_view)> make,
              const std::string& otherwise = "keep") {
    return {yaml, [parsed = ToPath(path), make, otherwise](Json* event) {
              std::vector<Place> gone;
              for (const Place& place : Find(event, parsed)) {
                if (const NewValue value = make(place.value->dump()))
                  *place.value = Json::parse(*value);
                else if (otherwise == "remove")
                  gone.push_back(place);
                else if (otherwise == "null")
                  *place.value = nullptr;
              }
              Erase(gone);
              return true;
            }};
  }

  Made Action() {
    const std::string path = AnyPath();
    switch (random_.Below(12)) {
      case 0: {
        const auto condition = Condition();
        return {"drop: " + condition.text,
                [condition](Json* event) { return !condition.holds(event); }};
      }
      case 1:
        return {"remove: [" + path + "]", [parsed = ToPath(path)](Json* event) {
                  Erase(Find(event, parsed));
                  return true;
                }};
      case 2:
        return RenameKey();
      case 3:
        return Move();
      case 4:
        return KeepRule();
      case 5:
        return {"remove_null: " + path, [parsed = ToPath(path)](Json* event) {
                  for (const Place& place : Find(event, parsed)) {
                    if (!place.value->is_object()) continue;
                    Json kept = Json::object();
                    for (auto& [key, value] : place.value->items())
                      if (!value.is_null()) kept[key] = value;
                    *place.value = kept;
                  }
                  return true;
                }};
      case 6: {
        const std::string place = AnyPath(/*may_wild=*/false);
        const Json value = random_.Of(
            std::vector<Json>{1, "set", true, nullptr, Json::parse(R"({"a":[1,{"b":null}]})")});
        return {"set: {" + place + ": " + value.dump() + "}",
                [parsed = ToPath(place), value](Json* event) {
                  Store(event, parsed, value);
                  return true;
                }};
      }
      case 7: {
        const auto [name, type] = random_.Of(std::vector<std::pair<std::string, rules::CastType>>{
            {"string", rules::CastType::kString},
            {"number", rules::CastType::kNumber},
            {"integer", rules::CastType::kInteger},
            {"boolean", rules::CastType::kBoolean}});
        const std::string otherwise =
            random_.Of(std::vector<std::string>{"keep", "remove", "null"});
        return Values(
            "cast: {" + path + ": " + name + "}\n  otherwise: " + otherwise, path,
            [to = type](std::string_view raw) { return rules::CastValue(raw, to); }, otherwise);
      }
      case 8:
        return Values("hash: {fields: " + path + ", salt: s}", path,
                      [](std::string_view raw) { return rules::HashValue(raw, {.salt = "s"}); });
      case 9:
        return Values("mask: {fields: [" + path + "], keep_last: 1}", path,
                      [](std::string_view raw) { return rules::MaskValue(raw, {.keep_last = 1}); });
      case 10:
        return Values("lowercase: " + path, path, rules::LowercaseText);
      default:
        return Values("replace: {fields: " + path + ", pattern: '[a-d]', with: '<\\0\"'}", path,
                      [](std::string_view raw) {
                        return rules::ReplaceText(
                            raw,
                            {.pattern = std::make_shared<const RE2>("[a-d]"), .with = "<\\0\""});
                      });
    }
  }

  Made RenameKey() {
    const std::string parent = AnyPath();
    const std::string from = random_.Of(names_);
    const std::string to = random_.Of(names_);
    if (to == "1" || from == to) return RenameKey();
    return {"rename: {" + parent + "." + from + ": " + parent + "." + to + "}",
            [parsed = ToPath(parent), from = ToPath(from).parts[0].name,
             to = ToPath(to).parts[0].name](Json* event) {
              for (const Place& place : Find(event, parsed)) {
                Json& object = *place.value;
                if (!object.is_object() || !object.contains(from)) continue;
                const Json value = object[from];
                object.erase(from);
                object[to] = value;
              }
              return true;
            }};
  }
  Made Move() {
    const std::string from = AnyPath(false);
    const std::string to = AnyPath(false);
    const Path a = ToPath(from);
    const Path b = ToPath(to);
    const bool siblings = a.parts.size() == b.parts.size() &&
                          std::equal(a.parts.begin(), a.parts.end() - 1, b.parts.begin());
    if (rules::Overlap(a, b) || siblings) return Move();
    return {"rename: {" + from + ": " + to + "}", [a, b](Json* event) {
              const auto places = Find(event, a);
              if (places.empty()) return true;
              const Json value = *places[0].value;
              if (Store(event, b, value)) Erase(Find(event, a));
              return true;
            }};
  }
  Made KeepRule() {
    const std::string object = AnyPath();
    const std::string one = random_.Of(names_);
    const std::string other = random_.Of(names_);
    return {"keep: [" + object + "." + one + ", " + object + "." + other + "]",
            [parsed = ToPath(object), one = ToPath(one).parts[0].name,
             other = ToPath(other).parts[0].name](Json* event) {
              for (const Place& place : Find(event, parsed)) {
                if (!place.value->is_object()) continue;
                Json kept = Json::object();
                for (auto& [key, value] : place.value->items())
                  if (key == one || key == other) kept[key] = value;
                *place.value = kept;
              }
              return true;
            }};
  }

  Random& random_;
  const bool wildcards_;
  const std::vector<std::string> tops_ = {"a", "b", "c", "event"};
  const std::vector<std::string> names_ = {"a", "b", "x-y", "1"};
  const std::vector<std::string> texts_ = {"abc", "b", "", "Q", "7"};
};

}  // namespace millrace::transformation::reference
