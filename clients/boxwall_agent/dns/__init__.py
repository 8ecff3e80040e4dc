"""What does a box's DNS query lead to: an answer, a lease, or a refusal?"""
