#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "libs/base/clock.h"
#include "libs/base/status.h"

namespace millrace::http {

struct ResolverOptions {
  size_t max_names = 4096;                       // kept; those not asked for longest go first
  std::chrono::seconds least_lifetime{1};        // of an answer, whatever its own lifetime says
  std::chrono::seconds longest_lifetime{60};     // ... and at most
  std::chrono::seconds negative_lifetime{1};     // of a failure
  std::chrono::seconds stale_lifetime{3600};     // an old answer serves so long when asking fails
  std::chrono::milliseconds try_timeout{2'000};  // of one question to one server
  int tries = 3;
  std::string servers;  // "address:port,..." instead of those of /etc/resolv.conf; for tests
};

/// The addresses of names, by c-ares: /etc/hosts, name servers and search domains as
/// /etc/resolv.conf and nsswitch.conf say (`files` and `dns`). Never blocks: a name server that
/// does not answer holds up who asks for its names and nobody else.
///
/// Owned by an event loop. One thread.
class Resolver {
 public:
  struct Answer {
    /// Addresses in text, the best first; empty when there are none.
    std::vector<std::string> addresses;
    std::string error;     // a sentence when there are no addresses
    uint64_t version = 0;  // another number for other addresses
  };
  using AnswerPtr = std::shared_ptr<const Answer>;
  using Done = std::function<void(AnswerPtr)>;

  /// `watch`: what the loop shall wait for on a socket; neither = forget it. It is the caller's to
  /// call OnSocket then.
  using Watch = std::function<void(int socket, bool read, bool write)>;
  /// `forgotten`: a name is no longer kept. May be null.
  static StatusOr<std::unique_ptr<Resolver>> Create(
      const ResolverOptions& options, Watch watch,
      std::function<void(const std::string& name)> forgotten);
  virtual ~Resolver() = default;

  /// The answer when it is known, else null: `done` gets it, inside Lookup already when /etc/hosts
  /// has it, else inside OnSocket or OnTimer, unless the resolver goes first. A name is asked for
  /// once however many want it.
  virtual AnswerPtr Lookup(const std::string& name, MonotonicTime now, Done done) = 0;

  virtual void OnSocket(int socket, bool readable, bool writable) = 0;
  virtual void OnTimer() = 0;
  /// When OnTimer shall be called at the latest; negative: no need.
  virtual std::chrono::milliseconds NextTimer() const = 0;
};

}  // namespace millrace::http
