#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "millrace/event/v1/event.pb.h"

namespace millrace::processor {

/// Which of the numbers that gateways gave their records of one partition of `ingest` have come
/// (EventMeta.gateway_sequence): what is missing and was not refused is lost. It travels as the
/// note of the partition's committed offset, so that it is exact whoever reads on. A value;
/// bounded.
class GatewayNumbers {
 public:
  /// One start of one gateway.
  struct Gateway {
    std::string name;
    int64_t started_at_us = 0;
    uint64_t base = 0;     // numbers up to this one are not looked for
    uint64_t highest = 0;  // that came
    uint64_t seen = 0;     // different ones, above `base`
    uint64_t refused = 0;  // as the gateway said with its last record
    uint64_t unknown = 0;
    int64_t seen_at_us = 0;  // received_at_us of the last

    /// Numbers that were acknowledged and have not come, as far as is certain.
    uint64_t lost() const;
    bool operator==(const Gateway&) const = default;
  };

  /// Nothing of the partition was read before.
  GatewayNumbers() = default;
  /// Of a committed offset. An empty note, of a version that noted nothing, or one that cannot be
  /// read: the gateways that had started by `now_us` are looked at from the first number that
  /// comes.
  static GatewayNumbers FromNote(std::string_view note, int64_t now_us);

  /// A record in the order of the log. `again`: its message id has come before.
  void See(const event::v1::EventMeta& meta, bool again);
  /// At most 3,500 bytes: beyond that the gateways that were not seen for longest are forgotten.
  std::string Note();
  const std::vector<Gateway>& gateways() const { return gateways_; }
  uint64_t lost() const;

 private:
  Gateway& Find(const event::v1::EventMeta& meta);
  void ForgetOldest();

  std::vector<Gateway> gateways_;
  size_t last_ = 0;         // the one of the last record
  int64_t since_us_ = 0;    // of gateways that started by then not all numbers are known
  uint64_t forgotten_ = 0;  // lost numbers of gateways that are forgotten
};

}  // namespace millrace::processor
