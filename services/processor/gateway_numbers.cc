#include "services/processor/gateway_numbers.h"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <utility>

namespace millrace::processor {
namespace {

constexpr std::string_view kVersion = "g1";
constexpr size_t kMostBytes = 3500;
constexpr size_t kMostNameBytes = 200;

/// Takes a field that ends with `end` off `text`.
bool Take(std::string_view& text, char end, std::string_view* field) {
  const size_t at = text.find(end);
  if (at == std::string_view::npos) return false;
  *field = text.substr(0, at);
  text.remove_prefix(at + 1);
  return true;
}

template <typename Number>
bool TakeNumber(std::string_view& text, Number* number) {
  std::string_view field;
  if (!Take(text, ' ', &field)) return false;
  const auto [end, error] = std::from_chars(field.data(), field.data() + field.size(), *number);
  return error == std::errc() && end == field.data() + field.size();
}

bool TakeGateway(std::string_view& text, GatewayNumbers::Gateway* gateway) {
  std::string_view name;
  if (!TakeNumber(text, &gateway->started_at_us) || !TakeNumber(text, &gateway->base) ||
      !TakeNumber(text, &gateway->highest) || !TakeNumber(text, &gateway->seen) ||
      !TakeNumber(text, &gateway->refused) || !TakeNumber(text, &gateway->unknown) ||
      !TakeNumber(text, &gateway->seen_at_us) || !Take(text, '\n', &name)) {
    return false;
  }
  gateway->name = name;
  return true;
}

std::string NameOf(const event::v1::EventMeta& meta) {
  std::string name = meta.gateway().substr(0, kMostNameBytes);
  std::ranges::replace(name, '\n', ' ');
  return name;
}

}  // namespace

uint64_t GatewayNumbers::Gateway::lost() const {
  const uint64_t missing = highest - base - std::min(seen, highest - base);
  return missing - std::min(missing, refused + unknown);
}

GatewayNumbers GatewayNumbers::FromNote(std::string_view note, int64_t now_us) {
  GatewayNumbers numbers;
  std::string_view version;
  bool good = Take(note, ' ', &version) && version == kVersion &&
              TakeNumber(note, &numbers.since_us_) && TakeNumber(note, &numbers.forgotten_);
  while (good && !note.empty()) good = TakeGateway(note, &numbers.gateways_.emplace_back());
  if (good) return numbers;
  numbers = GatewayNumbers();
  numbers.since_us_ = now_us;
  return numbers;
}

GatewayNumbers::Gateway& GatewayNumbers::Find(const event::v1::EventMeta& meta) {
  const auto is = [&meta](const Gateway& gateway) {
    return gateway.started_at_us == meta.gateway_started_at_us() &&
           (gateway.name == meta.gateway() || gateway.name == NameOf(meta));
  };
  if (last_ < gateways_.size() && is(gateways_[last_])) return gateways_[last_];
  const auto found = std::ranges::find_if(gateways_, is);
  last_ = static_cast<size_t>(found - gateways_.begin());
  if (found != gateways_.end()) return *found;
  const bool known = meta.gateway_started_at_us() > since_us_;
  const uint64_t base = known ? 0 : meta.gateway_sequence() - 1;
  return gateways_.emplace_back(Gateway{.name = NameOf(meta),
                                        .started_at_us = meta.gateway_started_at_us(),
                                        .base = base,
                                        .highest = base});
}

void GatewayNumbers::See(const event::v1::EventMeta& meta, bool again) {
  if (meta.gateway_sequence() == 0) return;
  Gateway& gateway = Find(meta);
  const uint64_t number = meta.gateway_sequence();
  if (number > gateway.highest) {
    gateway.highest = number;
    ++gateway.seen;
    gateway.refused = meta.gateway_refused();
    gateway.unknown = meta.gateway_unknown();
  } else if (!again && number > gateway.base) {
    ++gateway.seen;  // late, out of a spill
  }
  gateway.seen_at_us = std::max(gateway.seen_at_us, meta.received_at_us());
}

void GatewayNumbers::ForgetOldest() {
  const auto oldest = std::ranges::min_element(gateways_, {}, &Gateway::seen_at_us);
  since_us_ = std::max(since_us_, oldest->started_at_us);
  forgotten_ += oldest->lost();
  gateways_.erase(oldest);
  last_ = gateways_.size();
}

std::string GatewayNumbers::Note() {
  while (true) {
    std::string note = fmt::format("{} {} {} ", kVersion, since_us_, forgotten_);
    for (const Gateway& gateway : gateways_) {
      note += fmt::format("{} {} {} {} {} {} {} {}\n", gateway.started_at_us, gateway.base,
                          gateway.highest, gateway.seen, gateway.refused, gateway.unknown,
                          gateway.seen_at_us, gateway.name);
    }
    if (note.size() <= kMostBytes) return note;
    ForgetOldest();
  }
}

uint64_t GatewayNumbers::lost() const {
  uint64_t lost = forgotten_;
  for (const Gateway& gateway : gateways_) lost += gateway.lost();
  return lost;
}

}  // namespace millrace::processor
