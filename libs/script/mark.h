#pragma once

#include <cstdint>

namespace millrace::script {

/// What a worker runs at this moment, in memory that it shares with its pool: when it dies, the
/// pool knows whose fault it was.
struct WorkerMark {
  volatile uint32_t job = 0;  // 0: none
  volatile uint32_t input = 0;
};

}  // namespace millrace::script
