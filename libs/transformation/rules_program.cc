#include "libs/transformation/rules_program.h"

#include <algorithm>
#include <unordered_set>
#include <utility>

#include "libs/event/event_fields.h"
#include "libs/event/scan.h"
#include "libs/transformation/rules_values.h"

namespace millrace::transformation::rules {
namespace {

constexpr size_t kMade = 256;  // bytes by which an event is expected to grow at most

bool AnyOverlap(const std::vector<Path>& some, const std::vector<Path>& others) {
  return std::ranges::any_of(some, [&](const Path& one) {
    return std::ranges::any_of(others, [&](const Path& other) { return Overlap(one, other); });
  });
}

Status TooDeep() {
  return MakeStatus(StatusCode::kInvalidArgument, "a rule nests the event too deep");
}

Status TooLarge() {
  return Error(StatusCode::kResourceExhausted,
               "the rules make the event larger by more than {} bytes", kMaxGrowthBytes);
}

void Append(std::vector<Path>* to, const std::vector<Path>& more) {
  to->insert(to->end(), more.begin(), more.end());
}

/// Runs the ops of one event.
class Runner {
 public:
  Runner(Scratch* scratch, std::string_view message_id)
      : document_(scratch->document),
        edits_(scratch->edits),
        message_id_(message_id),
        most_bytes_(document_.text().size() + kMaxGrowthBytes) {}

  bool changed() const { return changed_; }
  /// What has been changed is put in, and what was found is found anew.
  void Flush() {
    if (edits_.empty() || too_large()) return;
    changed_ = true;
    std::string made;
    made.reserve(document_.text().size() + kMade);
    edits_.Apply(document_.text(), &made);
    too_large_ = made.size() > most_bytes_;
    broken_ = !too_large_ && !document_.Replace(std::move(made));
  }
  /// False: the event is dropped, or broken.
  bool Do(const Op& op) {
    if (op.flush_before) Flush();
    return !stopped() && std::visit([this](const auto& what) { return Do(what); }, op.what) &&
           !stopped();
  }
  bool too_large() const { return too_large_ || edits_.bytes() > most_bytes_; }
  bool stopped() const { return broken_ || too_large(); }
  /// A rule made something that is not to be read again: nested too deep.
  bool broken() const { return broken_; }

 private:
  bool Do(const DropOp& op) {
    if (!op.condition) return false;
    return op.condition->Holds(document_) == op.unless;
  }
  bool Do(const SampleOp& op) {
    for (const int node : op.ids) {
      const Match* const match = document_.First(node);
      if (match == nullptr) continue;
      const std::string id = event::DecodeText(document_.Value(*match));
      if (!id.empty()) return SamplePoint(id) < op.share;
    }
    return SamplePoint(message_id_) < op.share;
  }
  bool Do(const RemoveOp& op) {
    ForEach(op.node, [&](const Match& match) { edits_.Remove(match); });
    return true;
  }
  bool Do(const RenameOp& op) {
    if (op.key.empty())
      Move(op);
    else
      RenameKeys(op);
    return true;
  }
  bool Do(const KeepOp& op) {
    ForEach(op.object, [&](const Match& match) {
      if (document_.Value(match).front() == '{') KeepMembers(op, match);
    });
    return true;
  }
  bool Do(const ValueOp& op) {
    ForEach(op.node, [&](const Match& match) {
      if (too_large()) return;
      const std::string_view raw = document_.Value(match);
      if (NewValue value = op.make(raw)) {
        too_large_ = value->size() > raw.size() + kMaxGrowthBytes;
        if (*value != raw) Put(match, edits_.Keep(*std::move(value)));
      } else if (op.otherwise == ValueOp::Otherwise::kRemove) {
        edits_.Remove(match);
      } else if (op.otherwise == ValueOp::Otherwise::kNull) {
        Put(match, "null");
      }
    });
    return true;
  }
  bool Do(const SetOp& op) {
    if (const Match* const match = document_.First(op.target.nodes.back())) {
      if (document_.Value(*match) != op.value) Put(*match, op.value);
    } else {
      Insert(op.target, op.value);
    }
    return true;
  }

  template <typename F>
  void ForEach(int node, F&& use) {
    for (const Match* match = document_.First(node); match != nullptr;
         match = document_.Next(match)) {
      use(*match);
    }
  }
  void Put(const Match& match, std::string_view value) {
    edits_.Replace(match.value_begin, match.value_end, value);
  }

  // The key of a member ends before the colon; an element of an array has none.
  void RenameKeys(const RenameOp& op) {
    // Both run from the event's end to its beginning, so that one pass finds those that share an
    // object.
    const Match* taken = document_.First(op.to);
    ForEach(op.from, [&](const Match& match) {
      if (match.begin == match.value_begin) return;
      uint32_t end = match.value_begin;
      do --end;
      while (document_.text()[end] != '"');
      edits_.Replace(match.begin, end + 1, op.key);
      while (taken != nullptr && taken->container > match.container) taken = document_.Next(taken);
      if (taken != nullptr && taken->container == match.container) edits_.Remove(*taken);
    });
  }

  void Move(const RenameOp& op) {
    const Match* match = document_.First(op.from);
    if (match == nullptr) return;
    const std::string_view value = edits_.Keep(std::string(document_.Value(*match)));
    if (const Match* const taken = document_.First(op.to)) {
      Put(*taken, value);
    } else if (!Insert(op.target, value) || broken_) {
      return;
    }
    // Making room may have moved everything.
    match = document_.First(op.from);
    if (match != nullptr) edits_.Remove(*match);
  }

  // Puts a member in that is not there, with the objects around it that are missing. False when
  // something else is in their place.
  bool Insert(const Target& target, std::string_view value) {
    const size_t last = target.nodes.size() - 1;
    size_t depth = last - 1;  // of what is there
    while (depth > 0 && document_.First(target.nodes[depth]) == nullptr) --depth;
    const uint32_t object = document_.ObjectAt(target.nodes[depth]);
    const Match* const null = object == kNone ? document_.First(target.nodes[depth]) : nullptr;
    if (null != nullptr && document_.Value(*null) != "null") return false;
    const bool makes = null != nullptr || depth + 1 < last;
    if (makes && edits_.made_objects) {  // perhaps the same ones
      const std::string kept(value);
      Flush();
      return !broken_ && Insert(target, edits_.Keep(kept));
    }
    edits_.made_objects = edits_.made_objects || makes;
    std::string text(value);
    for (size_t part = last; part > depth + 1; --part) {
      text = '{' + Member(target, part, text) + '}';
    }
    text = Member(target, depth + 1, text);
    if (null != nullptr) {
      Put(*null, edits_.Keep('{' + text + '}'));
    } else {
      edits_.Insert(object, edits_.Keep(std::move(text)));
    }
    return true;
  }
  static std::string Member(const Target& target, size_t part, std::string_view value) {
    return event::QuoteJson(target.path.parts[part - 1].name) + ':' + std::string(value);
  }

  // The keys whose value, the last one of a key that stands twice, is null.
  static std::unordered_set<std::string> NullMembers(std::string_view object) {
    std::unordered_set<std::string> keys;
    event::scan::Members members(object.data(), object.data() + object.size());
    event::scan::Member member;
    while (members.Next(&member)) {
      if (member.value == "null") {
        keys.insert(event::DecodeText(member.key));
      } else if (!keys.empty()) {
        keys.erase(event::DecodeText(member.key));
      }
    }
    return keys;
  }

  void KeepMembers(const KeepOp& op, const Match& match) {
    const std::string_view object = document_.Value(match);
    const auto is_named = [&](std::string_view key) {
      return std::ranges::any_of(
          op.names, [&](const std::string& name) { return event::scan::KeyIs(key, name); });
    };
    std::unordered_set<std::string> nulls;
    if (op.not_null) nulls = NullMembers(object);
    const auto stays = [&](std::string_view key) {
      if (!op.not_null) return is_named(key);
      return nulls.empty() || !nulls.contains(event::DecodeText(key));
    };
    event::scan::Members members(object.data(), object.data() + object.size());
    event::scan::Member member;
    std::string kept = "{";
    bool all = true;
    while (members.Next(&member)) {
      if (!stays(member.key)) {
        all = false;
        continue;
      }
      if (kept.size() > 1) kept += ',';
      kept.append(member.key).append(":").append(member.value);
    }
    if (all) return;
    kept += '}';
    Put(match, edits_.Keep(std::move(kept)));
  }

  Document& document_;
  Edits& edits_;
  std::string_view message_id_;
  const size_t most_bytes_;
  bool changed_ = false;
  bool broken_ = false;
  bool too_large_ = false;
};

}  // namespace

void Program::Finish() {
  std::vector<Path> before;  // what rules wrote since everything was seen last
  for (Rule& rule : rules_) {
    std::vector<Path> touched;
    if (rule.when) Append(&touched, rule.when->paths());
    std::vector<Path> written;
    std::vector<Path> in_rule;  // since the last flush in it
    for (Op& op : rule.ops) {
      Append(&touched, op.reads);
      Append(&touched, op.writes);
      Append(&written, op.writes);
      op.flush_before = AnyOverlap(op.reads, in_rule) || AnyOverlap(op.writes, in_rule);
      if (op.flush_before) in_rule.clear();
      Append(&in_rule, op.writes);
    }
    rule.flush_before = AnyOverlap(touched, before);
    if (rule.flush_before) before.clear();
    Append(&before, written);
  }
}

StatusOr<Program::Verdict> Program::Run(std::string_view event, std::string_view message_id,
                                        Scratch* scratch, std::string* out) const {
  scratch->edits.Clear();
  MR_RETURN_IF_ERROR(scratch->document.Load(event));
  Runner runner(scratch, message_id);
  for (const Rule& rule : rules_) {
    if (rule.flush_before) runner.Flush();
    if (runner.stopped()) return runner.broken() ? TooDeep() : TooLarge();
    if (rule.when && !rule.when->Holds(scratch->document)) continue;
    for (const Op& op : rule.ops) {
      if (runner.Do(op)) continue;
      if (runner.stopped()) return runner.broken() ? TooDeep() : TooLarge();
      return Verdict::kDropped;
    }
  }
  if (!scratch->edits.empty()) {
    scratch->edits.Apply(scratch->document.text(), out);
    return Verdict::kChanged;
  }
  if (!runner.changed()) return Verdict::kSame;
  out->append(scratch->document.text());
  return Verdict::kChanged;
}

}  // namespace millrace::transformation::rules
